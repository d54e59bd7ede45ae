use super::harness::*;
use crate::store::{codec::*, data_row::DataRow, group_state::GroupState};
use bytes::Bytes;
use proptest::prelude::*;
use taffrail_core::{
    append::ExpectedRevision,
    event::NewEvent,
    ids::{Digest, Position, ReplicaId, Revision, StreamNo},
    names::StreamName,
    plan::Lineage,
    stream::{
        AppendRow, Block, Command, Gap, IdsHash, Kind, PartitionMeta, RULES, RemovedStart, RepeatRow, Settings,
        StreamRow,
    },
};
use taffrail_raft::types::{Payload, StoredMembership};

fn block() -> Block {
    Block {
        event_digest: Digest([7; 32]),
        stream_no: StreamNo::new(3),
        stream: StreamName::new("orders-1").unwrap(),
        first_revision: Revision::new(4).unwrap(),
        first_position: Position::new(5).unwrap(),
        recorded_at_us: 6,
        stream_bytes_before: 7,
        events: vec![event(1, 2), event(2, 0)],
        removed: None,
    }
}

/// Returns a block without the first three events of its append.
fn shortened_block() -> Block {
    let removed = RemovedStart { count: 3, bytes: 4, append_digest: Digest([3; 32]), ids_hash: IdsHash([2; 16]) };
    Block { removed: Some(removed), ..block() }
}

fn partition() -> PartitionMeta {
    PartitionMeta {
        rules: 1,
        next_position: 2,
        next_stream_no: 3,
        last_recorded_at_us: 4,
        events: 5,
        digest: Digest([6; 32]),
        event_digest: Digest([7; 32]),
        settings_version: 13,
        repeat_window_us: 8,
        closed: true,
        repeat_bucket: 11,
        repeat_bucket_start_us: 12,
        repeat_floor: 10,
    }
}

fn group() -> GroupState {
    let Payload::Membership(voters) = membership(3).payload else { panic!("not a membership") };
    GroupState {
        applied: Some(log_id(4)),
        membership: StoredMembership::new(Some(log_id(3)), voters),
        generation: 2,
        installing: 3,
        copied_from: Some(Lineage { source: ReplicaId::new(5), index: 6 }),
        must_refill: true,
    }
}

fn repeat_row() -> RepeatRow {
    RepeatRow {
        bucket: 4,
        first_revision: Revision::new(1).unwrap(),
        count: 2,
        first_position: Position::MAX,
        recorded_at_us: 3,
        ids_hash: IdsHash([9; 16]),
    }
}

fn append_row() -> AppendRow {
    AppendRow {
        first_position: Position::new(300).unwrap(),
        count: 2,
        recorded_at_us: 3,
        ids_hash: IdsHash([8; 16]),
        bytes_before: 5,
    }
}

/// Returns a block whose events have times of the application: 1970, and before 1970.
fn imported_block() -> Block {
    let at = |id, us| NewEvent { occurred_at_us: Some(us), ..event(id, 1) };
    Block { events: vec![at(1, 0), at(2, -1_500_000)], ..block() }
}

fn gap() -> Gap {
    let first_position = Position::new(3).unwrap();
    Gap { first_position, next_position: 9, event_digest: Digest([5; 32]), events: 6 }
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let decoded = GroupState::decode(Some(&group().encode())).unwrap();
    assert_eq!(decoded.encode(), group().encode());
    assert_eq!((decoded.applied, decoded.generation, decoded.installing), (Some(log_id(4)), 2, 3));
    assert!(decoded.must_refill && decoded.membership == group().membership);
    assert_eq!(decode_block(encode_block(&block()).into()).unwrap(), block());
    assert_eq!(decode_block(encode_block(&imported_block()).into()).unwrap(), imported_block());
    assert_eq!(decode_block(encode_block(&shortened_block()).into()).unwrap(), shortened_block());
    assert_eq!(decode_data_row(encode_gap(&gap()).into()).unwrap(), DataRow::Gap(gap()));
    assert_eq!(decode_data_row(encode_block(&block()).into()).unwrap(), DataRow::Block(block()));
    assert!(decode_block(encode_gap(&gap()).into()).is_err(), "a gap is no block");
    assert_eq!(decode_partition(&encode_partition(&partition())).unwrap(), partition());
    assert_eq!(decode_partition(&encode_partition(&PartitionMeta::default())).unwrap(), PartitionMeta::default());
    let name = StreamRow { no: StreamNo::new(1), last: Revision::MAX, bytes: u64::MAX };
    assert_eq!(decode_name(&encode_name(name)).unwrap(), name);
    assert_eq!(decode_repeat(&encode_repeat(&repeat_row())).unwrap(), repeat_row());
    assert_eq!(decode_append_row(&encode_append_row(&append_row())).unwrap(), append_row());
    let expectations = [
        ExpectedRevision::Any,
        ExpectedRevision::NoStream,
        ExpectedRevision::StreamExists,
        ExpectedRevision::Exact(Revision::MAX),
    ];
    let mut appends = expectations.map(|e| stamped("a", e, vec![event(1, 1)], 9)).to_vec();
    appends.push(stamped("a", ExpectedRevision::Any, imported_block().events, 9));
    for kind in [
        Kind::Appends(appends),
        Kind::Settings(Settings { version: 2, repeat_window_us: 3, closed: true }),
        Kind::RaiseRules(4),
    ] {
        let command = Command { rules: RULES, kind };
        assert_eq!(decode_command(encode_command(&command)).unwrap(), command);
    }
}

/// Every later version must read these rows.
#[test]
fn rows_are_a_contract() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let golden = [
        ("block", hex(&encode_block(&block()))),
        ("imported_block", hex(&encode_block(&imported_block()))),
        ("shortened_block", hex(&encode_block(&shortened_block()))),
        ("gap", hex(&encode_gap(&gap()))),
        ("partition", hex(&encode_partition(&partition()))),
        ("name", hex(&encode_name(StreamRow { no: StreamNo::new(1), last: Revision::new(2).unwrap(), bytes: 3 }))),
        ("stream", hex(&encode_append_row(&append_row()))),
        ("repeat", hex(&encode_repeat(&repeat_row()))),
        ("group", hex(&group().encode())),
    ];
    let text: String = golden.iter().map(|(name, row)| format!("{name} {row}\n")).collect();
    crate::golden::check("src/store/tests/golden_rows.txt", &text);
}

#[test]
fn a_later_format_is_unknown_and_not_damage() {
    let mut row = encode_block(&block());
    row[0] = 9;
    assert!(matches!(decode_block(row.into()), Err(Error::Unknown { .. })));
    // Field 1 is the format.
    assert!(matches!(decode_partition(&[0x08, 9]), Err(Error::Unknown { .. })));
    assert!(matches!(decode_group(&[0x08, 9]), Err(Error::Unknown { .. })));
    let format = u8::try_from(FORMAT).unwrap();
    assert!(matches!(decode_partition(&[0x08, format]), Err(Error::Malformed { .. })));
}

#[test]
fn a_block_beyond_the_last_revision_or_position_is_damage() {
    let last = Block { first_revision: Revision::MAX, ..block() };
    assert!(matches!(decode_block(encode_block(&last).into()), Err(Error::Malformed { .. })));
    let last = Block { first_position: Position::MAX, ..block() };
    assert!(matches!(decode_block(encode_block(&last).into()), Err(Error::Malformed { .. })));
    let none = Block { events: vec![], ..block() };
    assert!(matches!(decode_block(encode_block(&none).into()), Err(Error::Malformed { .. })));
    let removed = shortened_block().removed.unwrap();
    for count in [0, u32::MAX] {
        let first_revision = Revision::new(Revision::MAX.get() - 9).unwrap();
        let bad = Block { first_revision, removed: Some(RemovedStart { count, ..removed }), ..block() };
        assert!(matches!(decode_block(encode_block(&bad).into()), Err(Error::Malformed { .. })), "{count}");
    }
}

#[test]
fn a_gap_has_positions_and_at_most_an_event_for_each() {
    let past_the_end = Position::MAX.get() + 2;
    for bad in [
        Gap { next_position: 3, ..gap() },
        Gap { next_position: past_the_end, ..gap() },
        Gap { events: 0, ..gap() },
        Gap { events: 7, ..gap() },
    ] {
        assert!(matches!(decode_data_row(encode_gap(&bad).into()), Err(Error::Malformed { .. })), "{bad:?}");
    }
}

proptest! {
    /// Decoding arbitrary bytes returns a result and never panics.
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let shared = Bytes::from(bytes.clone());
        let with_checksum = [&[1][..], &crc32c::crc32c(&bytes).to_be_bytes(), &bytes].concat();
        drop((decode_command(shared.clone()), decode_block(shared), decode_block(with_checksum.into())));
        drop((decode_name(&bytes), decode_repeat(&bytes), decode_append_row(&bytes)));
        drop((decode_partition(&bytes), decode_group(&bytes)));
    }

    /// Decoding a row with a single changed byte returns a result and never panics.
    #[test]
    fn spoiled_rows_decode_or_are_refused(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut row = encode_block(&block());
        let at = at.index(row.len());
        row[at] ^= flip;
        prop_assert!(decode_block(row.clone().into()).is_err());
        // A correct checksum over the changed bytes leaves the message itself as the only check.
        let crc = crc32c::crc32c(&row[5..]);
        row[1..5].copy_from_slice(&crc.to_be_bytes());
        drop(decode_block(row.into()));
        let mut row = encode_partition(&partition());
        let at = at % row.len();
        row[at] ^= flip;
        drop(decode_partition(&row));
    }
}
