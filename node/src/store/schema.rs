//! Every key of the state database. Integers are big-endian, so byte order is number order. Outside of `data` and
//! `stream` a generation byte follows the partition: a replica that takes over another's state fills a new generation and
//! switches to it in one write.

use taffrail_core::{
    ids::{GroupId, PartitionId, Position, Revision, StreamNo},
    names::StreamName,
    stream::RepeatKey,
};

/// The column families. The order is part of the wire contract of catch-up: the number of a family is its place here.
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
    /// (partition, generation, bucket, stream no, first event id) -> the answer that was given.
    Dedup = 4,
    /// Reserved: indexes by type, category, correlation, tag.
    Index = 5,
    /// Reserved: subscriptions and their checkpoints.
    Subs = 6,
    /// Reserved: application snapshots.
    Snap = 7,
}

impl Family {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Meta,
        Self::Data,
        Self::Stream,
        Self::Names,
        Self::Dedup,
        Self::Index,
        Self::Subs,
        Self::Snap,
    ];
    /// Those whose keys carry a generation.
    pub const GENERATIONS: [Self; 5] = [Self::Names, Self::Dedup, Self::Index, Self::Subs, Self::Snap];

    /// Its name in the database.
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
    /// By its number on the wire.
    #[must_use]
    pub fn from_number(n: u32) -> Option<Self> {
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

/// `meta`: what a group has applied.
#[must_use]
pub fn group_meta(group: GroupId) -> [u8; 9] {
    tagged(MetaKind::Group, group.get())
}

/// `meta`: counters of a partition.
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

/// `meta`: a row of the catalogue; `kind` and `id` as the catalogue's codec says.
#[must_use]
pub fn catalogue_row(kind: u8, id: &[u8]) -> Vec<u8> {
    let mut key = vec![MetaKind::Catalogue as u8, kind];
    key.extend_from_slice(id);
    key
}

/// `meta`: bounds of all rows of the catalogue.
#[must_use]
pub fn catalogue_bounds() -> (Vec<u8>, Vec<u8>) {
    (vec![MetaKind::Catalogue as u8], vec![MetaKind::Catalogue as u8 + 1])
}

/// `meta`: all groups that have a row.
#[must_use]
pub fn group_meta_bounds() -> (Vec<u8>, Vec<u8>) {
    (vec![MetaKind::Group as u8], vec![MetaKind::Group as u8 + 1])
}

/// The group of a `meta` key.
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

fn number(key: &[u8], at: usize) -> Option<u64> {
    key.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
}

/// `data`: a block by the position of its first event.
#[must_use]
pub fn data(partition: PartitionId, first: Position) -> [u8; 16] {
    two(partition.get(), first.get())
}

/// The position in a `data` key.
#[must_use]
pub fn data_position(key: &[u8]) -> Option<Position> {
    number(key, 8).and_then(Position::new)
}

/// `stream`: an append by stream and first revision.
#[must_use]
pub fn stream(partition: PartitionId, stream: StreamNo, first: Revision) -> [u8; 24] {
    three(partition.get(), stream.get(), first.get())
}

/// Bounds of one stream in `stream`.
#[must_use]
pub fn stream_bounds(partition: PartitionId, stream: StreamNo) -> ([u8; 24], [u8; 24]) {
    (three(partition.get(), stream.get(), 0), three(partition.get(), stream.get() + 1, 0))
}

/// The revision in a `stream` key.
#[must_use]
pub fn stream_revision(key: &[u8]) -> Option<Revision> {
    number(key, 16).and_then(Revision::new)
}

/// The prefix of a generation of a partition.
#[must_use]
pub fn generation(partition: PartitionId, generation: u8) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&partition.get().to_be_bytes());
    key[8] = generation;
    key
}

/// Bounds of a generation of a partition.
#[must_use]
pub fn generation_bounds(partition: PartitionId, of: u8) -> (Vec<u8>, Vec<u8>) {
    let from = generation(partition, of).to_vec();
    let to = successor(&from);
    (from, to)
}

/// Bounds of a whole partition in any family but `meta`.
#[must_use]
pub fn partition_bounds(partition: PartitionId) -> (Vec<u8>, Vec<u8>) {
    (partition.get().to_be_bytes().to_vec(), (partition.get() + 1).to_be_bytes().to_vec())
}

/// The smallest key above all that start with `prefix`.
#[must_use]
pub fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            return key;
        }
    }
    key
}

/// `names`: a stream by name; `name` may be a prefix, for seeking.
#[must_use]
pub fn name(partition: PartitionId, of: u8, name: &str) -> Vec<u8> {
    let mut key = generation(partition, of).to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

/// The name in a `names` key.
#[must_use]
pub fn name_of(key: &[u8]) -> Option<StreamName> {
    std::str::from_utf8(key.get(9..)?).ok().and_then(|n| StreamName::new(n).ok())
}

/// `dedup`: an append by time bucket, stream and first event id.
#[must_use]
pub fn repeat(partition: PartitionId, of: u8, key: &RepeatKey) -> Vec<u8> {
    let mut out = bucket(partition, of, key.bucket);
    out.extend_from_slice(&key.stream_no.get().to_be_bytes());
    out.extend_from_slice(&key.first_id.to_bytes());
    out
}

/// `dedup`: where a time bucket begins.
#[must_use]
pub fn bucket(partition: PartitionId, of: u8, bucket: u64) -> Vec<u8> {
    let mut key = generation(partition, of).to_vec();
    key.extend_from_slice(&bucket.to_be_bytes());
    key
}

// The sizes are part of the disk contract.
const _: () = assert!(Family::ALL.len() == 8 && size_of::<PartitionId>() == 8);

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
        assert_eq!(hex(&name(p, 1, "ab")), "000000000000010201" .to_owned() + "6162");
        let key = RepeatKey { bucket: 6, stream_no: StreamNo::new(3), first_id: EventId::new(Uuid::from_u128(0xff)) };
        assert_eq!(
            hex(&repeat(p, 0, &key)),
            "0000000000000102000000000000000006000000000000000300000000000000000000000000000000ff".replace("0000000000000000ff", "00000000000000ff")
        );
    }

    #[test]
    fn what_is_encoded_decodes() {
        let p = PartitionId::new(1);
        assert_eq!(data_position(&data(p, Position::new(7).unwrap())), Position::new(7));
        assert_eq!(stream_revision(&stream(p, StreamNo::new(1), Revision::new(9).unwrap())), Revision::new(9));
        assert_eq!(name_of(&name(p, 0, "orders")).unwrap().as_str(), "orders");
        assert_eq!(group_of(&group_meta(GroupId::new(8))), Some(GroupId::new(8)));
        assert_eq!(successor(&[1, 255]), [2]);
    }
}
