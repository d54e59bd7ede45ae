//! Keys of the state database. Integers are big-endian, so byte order is number order. Outside of `data` and
//! `stream` a generation byte follows the partition: an install fills a new generation and switches to the new
//! generation in one write.

use taffrail_core::{
    ids::{GroupId, PartitionId, Position, Revision, StreamNo},
    names::StreamName,
    stream::RepeatKey,
};

/// The column families. The discriminant of a family is its number in the wire contract of catch-up, so the order
/// must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// Applied log ids and counters.
    Meta = 0,
    /// (partition, first position) -> block of events.
    Data = 1,
    /// (partition, stream no, first revision) -> first position, count.
    Stream = 2,
    /// (partition, generation, name) -> stream no, last revision.
    Names = 3,
    /// (partition, generation, stream no, first event id) -> the answer to the append.
    Dedup = 4,
    /// Reserved: indexes by type, category, correlation, tag.
    Index = 5,
    /// Reserved: subscriptions and their checkpoints.
    Subs = 6,
    /// Reserved: application snapshots.
    Snap = 7,
}

impl Family {
    /// All families in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Meta, Self::Data, Self::Stream, Self::Names, Self::Dedup, Self::Index, Self::Subs, Self::Snap];
    /// Families with a generation in their keys.
    pub(crate) const GENERATIONS: [Self; 5] = [Self::Names, Self::Dedup, Self::Index, Self::Subs, Self::Snap];

    /// Returns the name of the family in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Data => "data",
            Self::Stream => "stream",
            Self::Names => "names",
            Self::Dedup => "dedup",
            Self::Index => "index",
            Self::Subs => "subs",
            Self::Snap => "snap",
        }
    }
    /// Returns the family with a wire number, or `None` for an unknown number.
    #[must_use]
    pub(crate) fn from_number(n: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| *f as u32 == n)
    }
}

/// First byte of a key in `meta`.
#[derive(Clone, Copy)]
#[repr(u8)]
enum MetaKind {
    Catalogue = b'c',
    Group = b'g',
    Partition = b'p',
}

/// `meta`: key of a group's row with the applied log id.
#[must_use]
pub fn group_meta(group: GroupId) -> [u8; 9] {
    tagged(MetaKind::Group, group.get())
}

/// `meta`: key of the counters of a partition.
#[must_use]
pub fn partition_meta(partition: PartitionId) -> [u8; 9] {
    tagged(MetaKind::Partition, partition.get())
}

fn tagged(kind: MetaKind, n: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = kind as u8;
    key[1..].copy_from_slice(&n.to_be_bytes());
    key
}

/// `meta`: key of a row of the catalogue; `crate::catalogue::codec` defines `kind` and `id`.
#[must_use]
pub(crate) fn catalogue_row(kind: u8, id: &[u8]) -> Vec<u8> {
    let mut key = vec![MetaKind::Catalogue as u8, kind];
    key.extend_from_slice(id);
    key
}

/// `meta`: bounds of all rows of the catalogue.
#[must_use]
pub(crate) fn catalogue_bounds() -> (Vec<u8>, Vec<u8>) {
    (vec![MetaKind::Catalogue as u8], vec![MetaKind::Catalogue as u8 + 1])
}

/// `meta`: bounds of the rows of all groups.
#[must_use]
pub fn group_meta_bounds() -> (Vec<u8>, Vec<u8>) {
    (vec![MetaKind::Group as u8], vec![MetaKind::Group as u8 + 1])
}

/// Returns the group of a `meta` key, or `None` for another kind of key.
#[must_use]
pub fn group_of(key: &[u8]) -> Option<GroupId> {
    let number: [u8; 8] = key.strip_prefix(&[MetaKind::Group as u8])?.try_into().ok()?;
    Some(GroupId::new(u64::from_be_bytes(number)))
}

fn two(a: u64, b: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&a.to_be_bytes());
    key[8..].copy_from_slice(&b.to_be_bytes());
    key
}

fn three(a: u64, b: u64, c: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&two(a, b));
    key[16..].copy_from_slice(&c.to_be_bytes());
    key
}

/// `data`: key of a block by the position of its first event.
#[must_use]
pub fn data(partition: PartitionId, first: Position) -> [u8; 16] {
    two(partition.get(), first.get())
}

/// `stream`: key of an append by stream and first revision.
#[must_use]
pub fn stream(partition: PartitionId, stream: StreamNo, first: Revision) -> [u8; 24] {
    three(partition.get(), stream.get(), first.get())
}

/// `stream`: bounds of a single stream.
#[must_use]
pub fn stream_bounds(partition: PartitionId, stream: StreamNo) -> (Vec<u8>, Vec<u8>) {
    let from = two(partition.get(), stream.get());
    (from.to_vec(), successor(&from))
}

/// Returns the key prefix of a generation of a partition.
#[must_use]
pub fn generation(partition: PartitionId, generation: u8) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&partition.get().to_be_bytes());
    key[8] = generation;
    key
}

/// Returns the bounds of a generation of a partition.
#[must_use]
pub(crate) fn generation_bounds(partition: PartitionId, of: u8) -> (Vec<u8>, Vec<u8>) {
    let from = generation(partition, of).to_vec();
    let to = successor(&from);
    (from, to)
}

/// Returns the bounds of a whole partition in any family except `meta`.
#[must_use]
pub fn partition_bounds(partition: PartitionId) -> (Vec<u8>, Vec<u8>) {
    let from = partition.get().to_be_bytes();
    (from.to_vec(), successor(&from))
}

/// `data`: bounds of the events of a partition from position `first` on.
#[must_use]
pub(crate) fn data_from(partition: PartitionId, first: u64) -> (Vec<u8>, Vec<u8>) {
    (two(partition.get(), first).to_vec(), partition_bounds(partition).1)
}

/// Length of the partition at the start of a key, in bytes.
pub(crate) const PARTITION_LEN: usize = 8;
/// Length of partition and generation at the start of a key, in bytes.
pub(crate) const GENERATION_LEN: usize = PARTITION_LEN + 1;

/// Returns the smallest key above all keys with `prefix`. A prefix of only 0xff bytes has no such key, and the result
/// is the empty key; no partition, group or stream number is large enough for this case.
#[must_use]
pub(crate) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            return key;
        }
    }
    key
}

/// `names`: key of a stream by name; `name` may be a prefix, for seeks.
#[must_use]
pub fn name(partition: PartitionId, of: u8, name: &str) -> Vec<u8> {
    let mut key = generation(partition, of).to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

/// Returns the name in a `names` key.
#[must_use]
pub(crate) fn name_of(key: &[u8]) -> Option<StreamName> {
    std::str::from_utf8(key.get(GENERATION_LEN..)?).ok().and_then(|n| StreamName::new(n).ok())
}

/// `dedup`: key of an append by stream and first event id.
#[must_use]
pub fn repeat(partition: PartitionId, of: u8, key: &RepeatKey) -> Vec<u8> {
    let mut out = generation(partition, of).to_vec();
    out.extend_from_slice(&key.stream_no.get().to_be_bytes());
    out.extend_from_slice(&key.first_id.to_bytes());
    out
}

/// Returns the partition of a key of any family except `meta`.
#[must_use]
pub(crate) fn partition_of(key: &[u8]) -> Option<PartitionId> {
    key.first_chunk().map(|number| PartitionId::new(u64::from_be_bytes(*number)))
}

// The sizes are part of the disk contract.
const _: () = assert!(size_of::<PartitionId>() == PARTITION_LEN && size_of::<StreamNo>() == 8);
const _: () = assert!(size_of::<Position>() == 8 && size_of::<Revision>() == 8);

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::ids::EventId;
    use uuid::Uuid;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn keys_are_a_contract() {
        let p = PartitionId::new(0x0102);
        assert_eq!(hex(&group_meta(GroupId::new(5))), "670000000000000005");
        assert_eq!(hex(&partition_meta(p)), "700000000000000102");
        assert_eq!(hex(&catalogue_row(2, &[9])), "630209");
        assert_eq!(hex(&data(p, Position::new(7).unwrap())), "00000000000001020000000000000007");
        assert_eq!(
            hex(&stream(p, StreamNo::new(3), Revision::new(4).unwrap())),
            "000000000000010200000000000000030000000000000004"
        );
        assert_eq!(hex(&name(p, 1, "ab")), "0000000000000102016162");
        let key = RepeatKey { stream_no: StreamNo::new(3), first_id: EventId::new(Uuid::from_u128(0xff)) };
        let repeat_key = ["0000000000000102", "00", "0000000000000003", "000000000000000000000000000000ff"];
        assert_eq!(hex(&repeat(p, 0, &key)), repeat_key.concat());
        let names: Vec<_> = Family::ALL.iter().map(|f| (*f as u32, f.name())).collect();
        let expected = ["meta", "data", "stream", "names", "dedup", "index", "subs", "snap"];
        assert_eq!(names, (0..).zip(expected).collect::<Vec<_>>());
    }

    #[test]
    fn bounds_hold_all_of_theirs_and_nothing_of_the_neighbours() {
        let within = |key: &[u8], (from, to): (Vec<u8>, Vec<u8>)| from.as_slice() <= key && key < to.as_slice();
        let (p, q) = (PartitionId::new(0xff), PartitionId::new(0x100));
        let (n, m) = (StreamNo::new(0xff), StreamNo::new(0x100));
        assert!(within(&data(p, Position::MAX), partition_bounds(p)));
        assert!(!within(&data(q, Position::START), partition_bounds(p)));
        assert!(within(&stream(p, n, Revision::MAX), stream_bounds(p, n)));
        assert!(!within(&stream(p, m, Revision::default()), stream_bounds(p, n)));
        let longest = "\u{10ffff}".repeat(128);
        for of in [0, 1, u8::MAX] {
            assert!(within(&name(p, of, &longest), generation_bounds(p, of)), "{of}");
            assert!(within(&name(p, of, &longest), partition_bounds(p)), "{of}");
        }
        assert!(!within(&name(p, 2, ""), generation_bounds(p, 1)));
        assert!(!within(&name(q, 0, ""), generation_bounds(p, u8::MAX)));
        assert!(within(&catalogue_row(u8::MAX, &[u8::MAX; 20]), catalogue_bounds()));
        assert!(!within(&group_meta(GroupId::new(0)), catalogue_bounds()));
    }

    #[test]
    fn what_is_encoded_decodes() {
        let p = PartitionId::new(1);
        assert_eq!(name_of(&name(p, 0, "orders")).unwrap().as_str(), "orders");
        assert_eq!(group_of(&group_meta(GroupId::new(8))), Some(GroupId::new(8)));
        assert_eq!(successor(&[1, 255]), [2]);
        assert_eq!((name_of(b"short"), group_of(b"short"), partition_of(b"short")), (None, None, None));
        assert_eq!(partition_of(&name(p, 0, "orders")), Some(p));
        assert_eq!(group_of(&partition_meta(p)), None);
        for family in Family::ALL {
            assert_eq!(Family::from_number(family as u32), Some(family));
        }
        assert_eq!(Family::from_number(8), None);
    }
}
