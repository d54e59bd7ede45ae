//! Digests of a store: the bytes are a contract, and every difference counts.

use super::*;
use std::collections::BTreeSet;

#[test]
fn digests_are_a_contract() {
    let mut s = Store::default();
    s.append("orders-1", NONE, &[1, 2], 1_000).unwrap();
    s.append("orders-1", NONE, &[3], 2_000).unwrap_err();
    assert_eq!(s.meta.event_digest.to_string(), include_str!("../golden_event_digest.txt").trim());
    assert_eq!(s.meta.digest.to_string(), include_str!("../golden_digest.txt").trim());
}

#[test]
fn a_block_follows_only_the_history_before_its_append_and_only_unchanged() {
    let mut s = Store::default();
    s.append("a", NONE, &[1], 1).unwrap();
    let before = s.meta.event_digest;
    s.append("b", NONE, &[2], 2).unwrap();
    let block = s.rows.blocks.values().find(|b| b.stream.as_str() == "b").unwrap();
    assert!(block.follows(&before));
    assert!(!block.follows(&Digest::default()) && !block.follows(&s.meta.event_digest), "another history");
    let changed = Block { events: vec![event(3)], ..block.clone() };
    assert!(!changed.follows(&before), "another event");
}

/// The golden digests of an event with all fields, settings and rules.
#[test]
fn digests_of_all_fields_of_events_and_of_settings_and_rules_are_a_contract() {
    let mut s = Store::default();
    let full = NewEvent {
        content_type: "application/json".into(),
        metadata: Bytes::from_static(b"m"),
        tags: vec!["a:1".into(), "b:2".into()],
        correlation_id: "c".into(),
        causation_id: "d".into(),
        occurred_at_us: Some(-5),
        ..event(1)
    };
    let mut append = stamped("orders-1", NONE, &[1, 2], 1_000);
    append.append.events[0] = full;
    s.command(Kind::Appends(vec![append])).remove(0).unwrap();
    assert_eq!(s.meta.event_digest.to_string(), "308ea8b4903776045598bc5829d9d49a93b3a818d45709e9113825bc747a56cb");
    s.set(REPEAT_WINDOW_US, true);
    assert_eq!(s.meta.digest.to_string(), "d6992bf71961d908401d4dadc846fed89be85966e5df15e91f3bb79d3423ee1a");
    s.command(Kind::RaiseRules(1));
    assert_eq!(s.meta.digest.to_string(), "8576ceb103edaa914b66c39d07ee3844fd3d39b4af8379f8bea3bd9e4031ae51");
}

/// Replicas that answer differently, or have different settings or rules, have different digests from then on.
#[test]
fn different_outcomes_settings_and_rules_give_different_digests() {
    let (a, b) = (StreamName::new("a").unwrap(), StreamName::new("b").unwrap());
    let id = |n| EventId::new(Uuid::from_u128(n));
    let wrong =
        |stream: &StreamName, expected, actual| Rejected::WrongRevision { stream: stream.clone(), expected, actual };
    let at = |n| Tail::At(Revision::new(n).unwrap());
    let rejections = [
        wrong(&a, ANY, Tail::Empty),
        wrong(&b, ANY, Tail::Empty),
        wrong(&b, NONE, Tail::Empty),
        wrong(&b, EXISTS, Tail::Empty),
        wrong(&b, exact(1), Tail::Empty),
        wrong(&b, exact(2), Tail::Empty),
        wrong(&b, exact(2), at(1)),
        wrong(&b, exact(2), at(3)),
        Rejected::StreamFull { stream: a.clone() },
        Rejected::StreamFull { stream: b.clone() },
        Rejected::IdReused { stream: a.clone(), id: id(1) },
        Rejected::IdReused { stream: b.clone(), id: id(1) },
        Rejected::IdReused { stream: b, id: id(2) },
        Rejected::Closed,
        Rejected::UpgradePending { rules: 2, in_force: 1 },
        Rejected::UpgradePending { rules: 3, in_force: 1 },
        Rejected::UpgradePending { rules: 3, in_force: 2 },
    ];
    let changes = [(1, 1, false), (2, 1, false), (2, 2, false), (2, 2, true)];
    let mut digests = Vec::new();
    for before in [Digest([1; 32]), Digest([2; 32])] {
        digests.extend(rejections.iter().map(|why| digest::rejected(&before, why)));
        digests.extend(changes.map(|(version, repeat_window_us, closed)| {
            digest::settings(&before, &Settings { version, repeat_window_us, closed })
        }));
        digests.extend([1, 2].map(|rules| digest::rules(&before, rules)));
    }
    let different: BTreeSet<[u8; 32]> = digests.iter().map(|digest| digest.0).collect();
    assert_eq!(different.len(), digests.len());
}

/// The digest compares the whole event between replicas, the time of the application included.
#[test]
fn the_time_of_the_application_is_part_of_the_digest() {
    let digest = |occurred_at_us: Option<i64>| {
        let mut s = Store::default();
        let mut append = stamped("a", ANY, &[1], 0);
        append.append.events[0].occurred_at_us = occurred_at_us;
        s.command(Kind::Appends(vec![append])).remove(0).unwrap();
        s.meta.event_digest
    };
    assert_ne!(digest(None), digest(Some(0)));
    assert_ne!(digest(Some(0)), digest(Some(-1)));
}
