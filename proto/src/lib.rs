//! Generated messages and gRPC services of every Taffrail wire and disk format.
//!
//! The `.proto` files are the contract, and the comments in the `.proto` files are the documentation.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]

pub mod codec;
pub mod error_detail;
pub mod reason;

pub mod taffrail {
    pub mod v1 {
        tonic::include_proto!("taffrail.v1");
    }
    pub mod admin {
        pub mod v1 {
            tonic::include_proto!("taffrail.admin.v1");
        }
    }
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("taffrail.peer.v1");
        }
    }
    pub mod storage {
        pub mod v1 {
            tonic::include_proto!("taffrail.storage.v1");
        }
    }
}

pub use taffrail::{admin::v1 as admin, peer::v1 as peer, storage::v1 as storage, v1};

impl From<v1::start::Kind> for v1::Start {
    fn from(kind: v1::start::Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }
}

/// Maximum size of one gRPC message in both directions, in bytes. Servers and clients of the ports for clients and for
/// peers set this limit: 40 MiB hold the largest configurable batch, 32 MiB, with the framing of its events.
pub const MESSAGE_BYTES_MAX: usize = 40 << 20;

/// Encoded `FileDescriptorSet` of all files, for server reflection and the test of breaking changes.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
