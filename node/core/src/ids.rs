//! Ids, revisions, positions and digests. Each is a type of its own, so that a replica id cannot be passed where a node
//! id is meant.

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
            /// The UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
            /// The 16 bytes, big-endian.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }
            /// Reads 16 bytes; `None` for any other length.
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
            /// The number.
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
    /// A cluster, for its whole life; minted by the operator (or `taffrail cluster bootstrap`).
    ClusterId
);
uuid_id!(
    /// One data directory, minted at its first start.
    DiskId
);
uuid_id!(
    /// One store, for its whole life; outlives the object that declared it. Never reused.
    StoreId
);
uuid_id!(
    /// One event, given by the application.
    EventId
);
number_id!(
    /// Names a disk within a cluster; allocated by the system group from 1, never reused, not the pod ordinal.
    NodeId
);
number_id!(
    /// One replica of one group on one node for one lifetime; never reused. Raft knows the replica by this number. In
    /// the system group the number equals the [`NodeId`].
    ReplicaId
);
number_id!(
    /// One Raft group. 0 is the system group.
    GroupId
);
number_id!(
    /// One partition of a store: the prefix of its keys. Today one per store.
    PartitionId
);
number_id!(
    /// Names a stream within a partition, in the order of first appearance, from 1.
    StreamNo
);

impl GroupId {
    /// The group of all nodes that holds the catalogue.
    pub const SYSTEM: Self = Self(0);
}

macro_rules! event_index {
    ($(#[$doc:meta])* $name:ident, max $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(u64);

        impl $name {
            /// The largest value.
            pub const MAX: Self = Self($max);

            /// Wraps a number; `None` above [`MAX`](Self::MAX).
            #[must_use]
            pub const fn new(n: u64) -> Option<Self> {
                if n <= Self::MAX.0 { Some(Self(n)) } else { None }
            }
            /// The number.
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
    /// Index of an event in its stream: from 0, without gaps. The largest revision is one below the number that
    /// KurrentDB clients read as "end".
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
    /// Index of an event in its store: from 1, rising, opaque to clients. 0 stands before the first event.
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
    /// The position before the first event.
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
