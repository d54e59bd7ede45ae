//! Ids, revisions, positions and digests.
//!
//! Each kind of id is a separate type, so the compiler rejects a replica id in the place of a node id.

use std::fmt;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            #[must_use]
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }
            /// Returns the wrapped UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
            /// Returns the 16 bytes of the UUID, big-endian.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }
            /// Decodes 16 big-endian bytes; `None` for any other length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a number.
            #[must_use]
            pub const fn new(id: u64) -> Self {
                Self(id)
            }
            /// Returns the wrapped number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

uuid_id!(
    /// Permanent id of a cluster, created by the operator or `taffrail cluster bootstrap`.
    ClusterId
);
uuid_id!(
    /// Id of a data directory, created at the first start on the directory.
    DiskId
);
uuid_id!(
    /// Permanent id of a store, never reused. The id outlives the Kubernetes object that declared the store.
    StoreId
);
uuid_id!(
    /// Id of an event, given by the application.
    EventId
);
number_id!(
    /// Id of a disk within a cluster, allocated by the system group from 1 and never reused. Not the pod ordinal.
    NodeId
);
number_id!(
    /// Id of a replica of a group on a node during a single lifetime; never reused. Raft uses this number as the member
    /// id. In the system group the number equals the [`NodeId`].
    ReplicaId
);
number_id!(
    /// Id of a Raft group; 0 is the system group.
    GroupId
);
number_id!(
    /// Id of a partition of a store, and prefix of the partition's keys. Every store has exactly one partition today.
    PartitionId
);
number_id!(
    /// Number of a stream within a partition, from 1, in order of first appearance.
    StreamNo
);

impl GroupId {
    /// Id of the system group, whose members are all nodes and whose log is the catalogue.
    pub const SYSTEM: Self = Self(0);
}

macro_rules! event_index {
    ($(#[$doc:meta])* $name:ident, max $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(u64);

        impl $name {
            /// Largest value of this type.
            pub const MAX: Self = Self($max);

            /// Wraps a number; `None` above [`MAX`](Self::MAX).
            #[must_use]
            pub const fn new(n: u64) -> Option<Self> {
                if n <= Self::MAX.0 { Some(Self(n)) } else { None }
            }
            /// Returns the wrapped number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

event_index!(
    /// Index of an event in a stream, from 0, without gaps. [`MAX`](Self::MAX) is just below the number that KurrentDB
    /// clients interpret as "end".
    ///
    /// ```
    /// use taffrail_core::ids::Revision;
    ///
    /// let third = Revision::new(2).unwrap();
    /// assert_eq!(third.get(), 2);
    /// assert_eq!(Revision::new(u64::MAX), None);
    /// ```
    Revision, max (1 << 63) - 2
);
event_index!(
    /// Index of an event in a store, from 1, increasing, opaque to clients. 0 is the place before the first event.
    ///
    /// ```
    /// use taffrail_core::ids::Position;
    ///
    /// assert!(Position::new(7).unwrap() > Position::START);
    /// assert_eq!(Position::MAX.get(), u64::MAX / 2);
    /// ```
    Position, max (1 << 63) - 1
);

impl Position {
    /// Position before the first event of a store.
    pub const START: Self = Self(0);
}

/// Running BLAKE3 digest, 32 bytes; printed in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_hexadecimal_digits() {
        let mut digest = Digest::default();
        (digest.0[0], digest.0[31]) = (0x0a, 0xff);
        assert_eq!(digest.to_string(), format!("0a{}ff", "00".repeat(30)));
    }
}
