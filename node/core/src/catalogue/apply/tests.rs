use super::*;
use crate::{
    catalogue::Rules,
    ids::{ClusterId, DiskId},
    names::StoreName,
};
use uuid::Uuid;

fn run(c: &mut Catalogue, stamp_us: u64, kind: Kind) -> CatalogueOutcome {
    apply(c, &Command { rules: RULES, stamp_us, kind }).unwrap().0
}

fn registration(disk: u128) -> Registration {
    Registration {
        disk: DiskId::new(Uuid::from_u128(disk)),
        name: format!("main-{disk}"),
        address: format!("10.0.0.{disk}:2114"),
        version: "1".into(),
    }
}

fn cluster(nodes: u128) -> Catalogue {
    let mut c = Catalogue::default();
    let id = ClusterId::new(Uuid::from_u128(1));
    run(&mut c, 1, Kind::Init { cluster: id, first: registration(1) });
    for disk in 2..=nodes {
        run(&mut c, 1, Kind::Register(registration(disk)));
    }
    c
}

fn declaration(name: &str, replicas: u32, minted: u128, by: &str) -> Declaration {
    Declaration {
        name: StoreName::new("default", name).unwrap(),
        replicas,
        adopt: None,
        minted: StoreId::new(Uuid::from_u128(minted)),
        declared_by: by.into(),
    }
}

fn store(n: u128) -> StoreId {
    StoreId::new(Uuid::from_u128(n))
}

#[test]
fn nodes_get_ids_by_disk_and_keep_them() {
    let mut c = cluster(3);
    assert_eq!(run(&mut c, 1, Kind::Register(registration(2))), CatalogueOutcome::Node(NodeId::new(2)));
    assert_eq!(run(&mut c, 1, Kind::Register(registration(4))), CatalogueOutcome::Node(NodeId::new(4)));
    let version = c.version;
    run(&mut c, 1, Kind::Register(registration(4)));
    assert_eq!(c.version, version, "a repeated registration changes nothing");
}

#[test]
fn rules_rise_by_a_command_only_and_judge_the_later_commands() {
    let mut c = cluster(1);
    assert_eq!(c.rules, Rules::FIRST, "independent of the version that forms the cluster");
    let two = Rules { catalogue: 2, stores: 2 };
    let raise = |rules| Command { rules: 1, stamp_us: 1, kind: Kind::RaiseRules(rules) };
    let drain = |rules| Command { rules, stamp_us: 1, kind: Kind::Drain(NodeId::new(7)) };
    assert_eq!(apply_knowing(1, &mut c.clone(), &raise(two)), Err(ApplyError(2)), "a version that knows 1 stops");
    let (premature, touched) = apply_knowing(2, &mut c, &drain(2)).unwrap();
    assert_eq!(premature, CatalogueOutcome::Refused(Refused::UpgradePending { rules: 2, in_force: 1 }));
    assert_eq!(touched, [Touched::Header].into());
    apply_knowing(2, &mut c, &raise(two)).unwrap();
    assert_eq!(c.rules, two);
    let (judged, _) = apply_knowing(2, &mut c, &drain(2)).unwrap();
    assert_eq!(judged, CatalogueOutcome::Refused(Refused::BadNode(NodeId::new(7))));
    let version = c.version;
    apply_knowing(2, &mut c, &raise(Rules { catalogue: 1, stores: 2 })).unwrap();
    assert_eq!((c.rules, c.version), (two, version), "rules never fall");
}

#[test]
fn init_is_idempotent_for_the_same_cluster_only() {
    let mut c = cluster(1);
    let same = Kind::Init { cluster: ClusterId::new(Uuid::from_u128(1)), first: registration(1) };
    assert_eq!(run(&mut c, 1, same), CatalogueOutcome::Node(NodeId::new(1)));
    let other = Kind::Init { cluster: ClusterId::new(Uuid::from_u128(2)), first: registration(1) };
    assert_eq!(run(&mut c, 1, other), CatalogueOutcome::Refused(Refused::WrongCluster));
}

#[test]
fn a_store_is_created_at_once_and_spread_by_load() {
    let mut c = cluster(4);
    assert_eq!(run(&mut c, 1, Kind::Declare(declaration("a", 3, 10, "u"))), CatalogueOutcome::Store(store(10)));
    assert_eq!(run(&mut c, 1, Kind::Declare(declaration("b", 1, 11, "u"))), CatalogueOutcome::Store(store(11)));
    let nodes = |c: &Catalogue, s: u128| -> Vec<u64> {
        c.groups[&c.stores[&store(s)].group].nodes().map(NodeId::get).collect()
    };
    assert_eq!(nodes(&c, 10), [1, 2, 3]);
    assert_eq!(nodes(&c, 11), [4], "the emptiest node");
    let again = run(&mut c, 1, Kind::Declare(declaration("a", 3, 99, "u")));
    assert_eq!(again, CatalogueOutcome::Store(store(10)), "declaring again changes nothing");
    assert_eq!(c.stores.len(), 2);
    for node in [3, 4] {
        run(&mut c, 1, Kind::Drain(NodeId::new(node)));
    }
    let again = run(&mut c, 1, Kind::Declare(declaration("a", 3, 99, "u")));
    assert_eq!(again, CatalogueOutcome::Store(store(10)), "the present number of replicas is no new promise");
}

#[test]
fn a_promise_that_cannot_be_kept_is_refused() {
    let mut c = cluster(2);
    let no = run(&mut c, 1, Kind::Declare(declaration("a", 3, 10, "u")));
    assert_eq!(no, CatalogueOutcome::Refused(Refused::NotEnoughNodes { wanted: 3, have: 2 }));
    assert_eq!(
        run(&mut c, 1, Kind::Declare(declaration("a", 2, 10, "u"))),
        CatalogueOutcome::Refused(Refused::InvalidReplicas(2))
    );
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u")));
    let before = c.stores.clone();
    run(&mut c, 1, Kind::Declare(declaration("a", 3, 10, "u")));
    assert_eq!(c.stores, before);
}

#[test]
fn retained_data_is_never_shadowed_and_can_be_adopted() {
    let mut c = cluster(1);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u1")));
    let close = Kind::Close { store: store(10), mode: CloseMode::Retain, declared_by: "u1".into() };
    run(&mut c, 5, close);
    let shadow = run(&mut c, 6, Kind::Declare(declaration("a", 1, 11, "u2")));
    assert_eq!(shadow, CatalogueOutcome::Refused(Refused::RetainedDataExists { id: store(10), at_us: 5 }));
    let adopt = Declaration { adopt: Some(store(10)), ..declaration("a", 1, 11, "u2") };
    assert_eq!(run(&mut c, 7, Kind::Declare(adopt)), CatalogueOutcome::Store(store(10)));
    assert_eq!(c.stores[&store(10)].declared_by, "u2");
    let other_name = Declaration { adopt: Some(store(10)), ..declaration("b", 1, 11, "u2") };
    assert_eq!(run(&mut c, 8, Kind::Declare(other_name)), CatalogueOutcome::Refused(Refused::StoreNotFound(store(10))));
}

#[test]
fn a_retained_store_is_adopted_unless_another_store_has_its_name_in_use() {
    let cases = [
        (StoreState::Active, refused(Refused::NameTaken { by: "u1".into() })),
        (StoreState::Removing, refused(Refused::NameTaken { by: "u1".into() })),
        (StoreState::Retained { at_us: 2 }, CatalogueOutcome::Store(store(11))),
    ];
    for (state, answer) in cases {
        let mut c = cluster(1);
        run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u1")));
        // No command gives a name to two stores, so the second store is added to the rows.
        let second = Store { state: StoreState::Retained { at_us: 1 }, ..c.stores[&store(10)].clone() };
        c.stores.insert(store(10), Store { state, ..second.clone() });
        c.stores.insert(store(11), second);
        let adopt = Declaration { adopt: Some(store(11)), ..declaration("a", 1, 12, "u2") };
        assert_eq!(run(&mut c, 3, Kind::Declare(adopt)), answer, "{state:?}");
    }
}

#[test]
fn a_name_belongs_to_its_declarer() {
    let mut c = cluster(1);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u1")));
    let taken = run(&mut c, 1, Kind::Declare(declaration("a", 1, 11, "u2")));
    assert_eq!(taken, CatalogueOutcome::Refused(Refused::NameTaken { by: "u1".into() }));
    let foreign = Kind::Close { store: store(10), mode: CloseMode::Delete, declared_by: "u2".into() };
    assert!(matches!(run(&mut c, 1, foreign), CatalogueOutcome::Refused(Refused::NameTaken { .. })));
}

fn new_store(name: &str, replicas: u32, minted: u128) -> Kind {
    Kind::CreateStore(NewStore { name: StoreName::new("default", name).unwrap(), replicas, minted: store(minted) })
}

fn refused(why: Refused) -> CatalogueOutcome {
    CatalogueOutcome::Refused(why)
}

#[test]
fn a_store_is_created_once_and_never_changed_by_a_second_creation() {
    let mut c = cluster(3);
    assert_eq!(run(&mut c, 1, new_store("orders", 3, 10)), CatalogueOutcome::Store(store(10)));
    assert!(!c.stores[&store(10)].is_declared());
    let before = c.version;
    assert_eq!(run(&mut c, 1, new_store("orders", 3, 11)), CatalogueOutcome::Store(store(10)), "a repeat");
    let exists = Refused::StoreExists { id: store(10), replicas: 3 };
    assert_eq!(run(&mut c, 1, new_store("orders", 1, 11)), refused(exists));
    assert_eq!(run(&mut c, 1, new_store("notes", 5, 11)), refused(Refused::NotEnoughNodes { wanted: 5, have: 3 }));
    assert_eq!(run(&mut c, 1, new_store("notes", 2, 11)), refused(Refused::InvalidReplicas(2)));
    assert_eq!((c.version, c.stores.len()), (before, 1));
}

#[test]
fn a_declared_store_is_neither_created_nor_removed_without_its_declarer() {
    let mut c = cluster(3);
    run(&mut c, 1, Kind::Declare(declaration("orders", 3, 10, "u1")));
    let declared = || refused(Refused::Declared { id: store(10), by: "u1".into() });
    assert_eq!(run(&mut c, 1, new_store("orders", 3, 11)), declared());
    assert_eq!(run(&mut c, 1, Kind::RemoveStore(store(10))), declared());
    run(&mut c, 5, Kind::Close { store: store(10), mode: CloseMode::Retain, declared_by: "u1".into() });
    assert_eq!(run(&mut c, 6, Kind::RemoveStore(store(10))), declared(), "retained data is safe too");
    let retained = Refused::RetainedDataExists { id: store(10), at_us: 5 };
    assert_eq!(run(&mut c, 6, new_store("orders", 3, 11)), refused(retained));
    assert_eq!(c.stores[&store(10)].state, StoreState::Retained { at_us: 5 });
}

#[test]
fn an_object_adopts_a_created_store_by_its_id_only() {
    let mut c = cluster(3);
    run(&mut c, 1, new_store("orders", 3, 10));
    let declare = declaration("orders", 3, 11, "u1");
    assert_eq!(run(&mut c, 1, Kind::Declare(declare.clone())), refused(Refused::NameTaken { by: String::new() }));
    let adopt = Declaration { adopt: Some(store(10)), ..declare };
    assert_eq!(run(&mut c, 1, Kind::Declare(adopt)), CatalogueOutcome::Store(store(10)));
    assert!(c.stores[&store(10)].is_declared());
    assert!(matches!(
        run(&mut c, 1, Kind::RemoveStore(store(10))),
        CatalogueOutcome::Refused(Refused::Declared { .. })
    ));
}

#[test]
fn a_created_store_is_removed_with_its_data_once() {
    let mut c = cluster(1);
    run(&mut c, 1, new_store("orders", 1, 10));
    assert_eq!(run(&mut c, 1, Kind::RemoveStore(store(11))), refused(Refused::StoreNotFound(store(11))));
    for _ in 0..2 {
        assert_eq!(run(&mut c, 1, Kind::RemoveStore(store(10))), CatalogueOutcome::Done);
        assert_eq!(c.stores[&store(10)].state, StoreState::Removing);
    }
    assert_eq!(run(&mut c, 1, new_store("orders", 1, 12)), refused(Refused::StoreRemoving(store(10))));
    let (group, record) = c.groups.iter().next().map(|(id, g)| (*id, g.clone())).unwrap();
    for replica in record.replicas.keys() {
        run(&mut c, 1, Kind::DropReplica { group, replica: *replica });
    }
    run(&mut c, 1, Kind::StoreGone(store(10)));
    assert_eq!(run(&mut c, 1, Kind::RemoveStore(store(10))), CatalogueOutcome::Done, "a late repeat");
    assert_eq!(run(&mut c, 1, new_store("orders", 1, 12)), CatalogueOutcome::Store(store(12)));
}

#[test]
fn removal_ends_when_every_replica_is_dropped() {
    let mut c = cluster(3);
    run(&mut c, 1, Kind::Declare(declaration("a", 3, 10, "u")));
    run(&mut c, 1, Kind::Close { store: store(10), mode: CloseMode::Delete, declared_by: "u".into() });
    let group = c.stores[&store(10)].group;
    assert!(matches!(run(&mut c, 1, Kind::StoreGone(store(10))), CatalogueOutcome::Refused(_)));
    for replica in c.groups[&group].replicas.keys().copied().collect::<Vec<_>>() {
        run(&mut c, 1, Kind::DropReplica { group, replica });
    }
    assert_eq!(run(&mut c, 1, Kind::StoreGone(store(10))), CatalogueOutcome::Done);
    assert!(c.stores.is_empty() && c.groups.is_empty());
    run(&mut c, 1, Kind::Declare(declaration("a", 3, 12, "u")));
    assert!(c.groups.keys().all(|g| *g > group), "ids are never reused");
}

#[test]
fn a_node_leaves_only_when_no_group_names_it() {
    let mut c = cluster(3);
    run(&mut c, 1, Kind::Declare(declaration("a", 3, 10, "u")));
    let node = NodeId::new(3);
    run(&mut c, 1, Kind::Drain(node));
    let group = c.stores[&store(10)].group;
    assert_eq!(run(&mut c, 1, Kind::Drained(node)), CatalogueOutcome::Refused(Refused::StillNamed(group)));
    assert_eq!(run(&mut c, 1, Kind::CancelDrain(node)), CatalogueOutcome::Done);
    run(&mut c, 1, Kind::Drain(node));
    let replica = c.groups[&group].on(node).unwrap();
    run(&mut c, 1, Kind::RetireReplica { group, replica });
    assert_eq!(run(&mut c, 1, Kind::Drained(node)), CatalogueOutcome::Done);
    let back = run(&mut c, 1, Kind::Register(registration(3)));
    assert_eq!(back, CatalogueOutcome::NodeRemoved { forced: false, node });
    assert!(matches!(run(&mut c, 1, Kind::CancelDrain(node)), CatalogueOutcome::Refused(_)));
}

#[test]
fn a_store_is_formed_again_under_new_ids_only_if_it_was_never_formed() {
    let mut c = cluster(3);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u")));
    let old = c.stores[&store(10)].clone();
    let lost = c.groups[&old.group].nodes().next().unwrap();
    run(&mut c, 1, Kind::Replace { old: lost, new: None });
    let again =
        |nodes: &[u64]| Kind::FormAgain { group: old.group, nodes: nodes.iter().map(|n| NodeId::new(*n)).collect() };
    assert_eq!(run(&mut c, 1, again(&[lost.get()])), CatalogueOutcome::Refused(Refused::BadNode(lost)));
    let few = Refused::NotEnoughNodes { wanted: 1, have: 2 };
    assert_eq!(run(&mut c, 1, again(&[2, 3])), CatalogueOutcome::Refused(few), "as many as declared");
    let mut formed = c.clone();
    run(&mut formed, 1, Kind::GroupFormed(old.group));
    let refused = CatalogueOutcome::Refused(Refused::BadReplica(old.group));
    assert_eq!(run(&mut formed, 1, again(&[3])), refused, "a formed group may have acknowledged appends");

    let replicas: Vec<ReplicaId> = c.groups[&old.group].replicas.keys().copied().collect();
    assert_eq!(run(&mut c, 1, again(&[3])), CatalogueOutcome::Store(store(10)));
    let new = &c.stores[&store(10)];
    assert!(new.group > old.group && new.partition > old.partition && !c.groups.contains_key(&old.group));
    let group = &c.groups[&new.group];
    assert_eq!(group.nodes().collect::<Vec<_>>(), [NodeId::new(3)]);
    assert!(group.replicas.keys().all(|r| !replicas.contains(r)), "replica ids are never reused");
    assert!(matches!(&group.phase, GroupPhase::Creating { initial, .. } if initial.len() == 1));
    assert_eq!(
        run(&mut c, 1, Kind::GroupFormed(old.group)),
        refused,
        "the old group can no longer be recorded as formed"
    );
    assert_eq!(run(&mut c, 1, Kind::Replaced(lost)), CatalogueOutcome::Done, "no group names the lost node");
}

#[test]
fn one_replacement_at_a_time() {
    let mut c = cluster(4);
    assert_eq!(
        run(&mut c, 1, Kind::Replace { old: NodeId::new(1), new: Some(NodeId::new(4)) }),
        CatalogueOutcome::Done
    );
    let second = run(&mut c, 1, Kind::Replace { old: NodeId::new(2), new: None });
    assert!(matches!(second, CatalogueOutcome::Refused(Refused::BadNode(_))));
}

#[test]
fn a_successor_can_be_named_and_changed_during_a_replacement_and_never_taken_back() {
    let mut c = cluster(4);
    let old = NodeId::new(1);
    for (new, by) in [(None, None), (Some(3), Some(3)), (Some(4), Some(4)), (None, Some(4))] {
        let answer = run(&mut c, 1, Kind::Replace { old, new: new.map(NodeId::new) });
        let state = NodeState::Replacing { by: by.map(NodeId::new) };
        assert_eq!((answer, c.nodes[&old].state), (CatalogueOutcome::Done, state), "{new:?}");
    }
}

#[test]
fn only_a_leaving_replica_is_dropped() {
    let mut c = cluster(3);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u")));
    let group = c.stores[&store(10)].group;
    let active = *c.groups[&group].replicas.keys().next().unwrap();
    let CatalogueOutcome::Replica(joining) = run(&mut c, 1, Kind::AddReplica { group, node: NodeId::new(2) }) else {
        panic!("a member takes a replica")
    };
    for (replica, state) in [(active, ReplicaState::Active), (joining, ReplicaState::Joining)] {
        let answer = run(&mut c, 1, Kind::DropReplica { group, replica });
        assert_eq!(answer, refused(Refused::BadReplica(group)), "{state:?}");
        assert_eq!(c.groups[&group].replicas[&replica].state, state);
        run(&mut c, 1, Kind::RetireReplica { group, replica });
        assert_eq!(run(&mut c, 1, Kind::DropReplica { group, replica }), CatalogueOutcome::Done);
        assert!(!c.groups[&group].replicas.contains_key(&replica));
    }
}

#[test]
fn a_replica_that_leaves_never_votes_again() {
    let mut c = cluster(1);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u")));
    let group = c.stores[&store(10)].group;
    let replica = *c.groups[&group].replicas.keys().next().unwrap();
    for answer in [CatalogueOutcome::Done, refused(Refused::BadReplica(group))] {
        assert_eq!(run(&mut c, 1, Kind::ReplicaActive { group, replica }), answer);
        assert_eq!(run(&mut c, 1, Kind::RetireReplica { group, replica }), CatalogueOutcome::Done);
        assert_eq!(c.groups[&group].replicas[&replica].state, ReplicaState::Leaving);
    }
}

#[test]
fn a_contradiction_at_the_first_entry_of_a_group_is_not_recorded() {
    let mut c = cluster(1);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u")));
    let group = c.stores[&store(10)].group;
    for (index, recorded) in [(Some(0), None), (Some(1), Some(1)), (Some(0), None), (Some(2), Some(2)), (None, None)] {
        assert_eq!(run(&mut c, 1, Kind::Contradicted { group, index }), CatalogueOutcome::Done);
        assert_eq!(c.groups[&group].contradicted, recorded, "{index:?}");
    }
}

#[test]
fn one_grant_at_a_time_until_it_is_released_or_runs_out() {
    let mut c = cluster(3);
    let acquire =
        |node: u64, holder: &str| Kind::AcquireGrant { node: NodeId::new(node), holder: holder.into(), ttl_us: 100 };
    assert_eq!(run(&mut c, 10, acquire(1, "a")), CatalogueOutcome::Done);
    assert!(matches!(run(&mut c, 50, acquire(2, "a")), CatalogueOutcome::Refused(Refused::GrantHeld { .. })));
    assert!(matches!(run(&mut c, 50, acquire(1, "b")), CatalogueOutcome::Refused(Refused::GrantHeld { .. })));
    assert_eq!(run(&mut c, 50, acquire(1, "a")), CatalogueOutcome::Done, "renewed");
    assert_eq!(run(&mut c, 151, acquire(2, "a")), CatalogueOutcome::Done, "ran out");
    run(&mut c, 152, Kind::ReleaseGrant { node: NodeId::new(2), holder: "a".into() });
    assert_eq!(run(&mut c, 153, acquire(3, "b")), CatalogueOutcome::Done);
}

#[test]
fn only_the_holder_releases_a_grant_and_only_for_its_node() {
    let mut c = cluster(2);
    let (node, other) = (NodeId::new(1), NodeId::new(2));
    run(&mut c, 1, Kind::AcquireGrant { node, holder: "a".into(), ttl_us: 100 });
    for (node, holder, held) in [(other, "a", true), (node, "b", true), (node, "a", false), (node, "a", false)] {
        let answer = run(&mut c, 2, Kind::ReleaseGrant { node, holder: holder.into() });
        assert_eq!((answer, c.grant.is_some()), (CatalogueOutcome::Done, held), "{holder} {node}");
    }
}

#[test]
fn unknown_rules_stop_the_replica() {
    let mut c = cluster(1);
    let command = Command { rules: RULES + 1, stamp_us: 1, kind: Kind::Drain(NodeId::new(1)) };
    assert_eq!(apply(&mut c, &command), Err(ApplyError(RULES + 1)));
}

#[test]
fn a_refusal_changes_nothing_but_the_digest() {
    let mut c = cluster(1);
    let before = c.clone();
    run(&mut c, 0, Kind::Drain(NodeId::new(9)));
    assert_ne!(c.digest, before.digest);
    assert_eq!(Catalogue { digest: before.digest, ..c }, before);
}

#[test]
fn the_id_of_a_removed_store_is_never_given_again() {
    let mut c = cluster(1);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u")));
    let group = c.stores[&store(10)].group;
    let replica = c.groups[&group].on(NodeId::new(1)).unwrap();
    run(&mut c, 1, Kind::Close { store: store(10), mode: CloseMode::Delete, declared_by: "u".into() });
    run(&mut c, 1, Kind::DropReplica { group, replica });
    let command = Command { rules: RULES, stamp_us: 1, kind: Kind::StoreGone(store(10)) };
    let (outcome, touched) = apply(&mut c, &command).unwrap();
    assert_eq!(outcome, CatalogueOutcome::Done);
    assert!(touched.contains(&Touched::RemovedStore(store(10))));
    let again = run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u")));
    assert_eq!(again, CatalogueOutcome::Refused(Refused::StoreNotFound(store(10))), "not even when it is minted again");
    assert_eq!(run(&mut c, 1, Kind::Declare(declaration("a", 1, 11, "u"))), CatalogueOutcome::Store(store(11)));
}

#[test]
fn retained_data_is_removed_only_by_its_declarer_or_by_nobody_in_particular() {
    let mut c = cluster(1);
    run(&mut c, 1, Kind::Declare(declaration("a", 1, 10, "u1")));
    run(&mut c, 1, Kind::Close { store: store(10), mode: CloseMode::Retain, declared_by: "u1".into() });
    let delete = |by: &str| Kind::Close { store: store(10), mode: CloseMode::Delete, declared_by: by.into() };
    assert_eq!(run(&mut c, 1, delete("u2")), CatalogueOutcome::Refused(Refused::NameTaken { by: "u1".into() }));
    assert_eq!(run(&mut c, 1, delete("")), CatalogueOutcome::Done);
    assert_eq!(c.stores[&store(10)].state, StoreState::Removing);
}

mod random {
    use super::*;
    use proptest::prelude::*;

    fn kind() -> impl Strategy<Value = Kind> {
        let (group, node, replica) = (1u64..6, 1u64..8, 0u64..20);
        let of = (group.clone(), replica).prop_map(|(g, r)| (GroupId::new(g), ReplicaId::new(FIRST_STORE_REPLICA + r)));
        let node = node.prop_map(NodeId::new);
        let holder = prop_oneof![Just("a".to_owned()), Just("b".to_owned())];
        let mode = prop_oneof![Just(CloseMode::Retain), Just(CloseMode::Delete)];
        let minted = 10u128..16;
        prop_oneof![
            3 => (1u128..8).prop_map(|d| Kind::Register(registration(d))),
            3 => (0u8..3, prop_oneof![Just(1u32), Just(2), Just(3)], minted.clone(), prop::option::of(minted.clone()))
                .prop_map(|(n, replicas, minted, adopt)| Kind::Declare(Declaration {
                    adopt: adopt.map(store),
                    ..declaration(&format!("s{n}"), replicas, minted, "u")
                })),
            2 => (0u8..4, prop_oneof![Just(1u32), Just(2), Just(3)], minted.clone()).prop_map(|(n, replicas, minted)| {
                let name = StoreName::new("default", &format!("s{n}")).unwrap();
                Kind::CreateStore(NewStore { name, replicas, minted: store(minted) })
            }),
            1 => minted.clone().prop_map(|n| Kind::RemoveStore(store(n))),
            1 => group.clone().prop_map(|g| Kind::GroupFormed(GroupId::new(g))),
            1 => (group.clone(), prop::option::of(0u64..3))
                .prop_map(|(g, index)| Kind::Contradicted { group: GroupId::new(g), index }),
            2 => (group.clone(), prop::collection::btree_set(node.clone(), 1..4))
                .prop_map(|(g, nodes)| Kind::FormAgain { group: GroupId::new(g), nodes }),
            2 => (group, node.clone()).prop_map(|(g, node)| Kind::AddReplica { group: GroupId::new(g), node }),
            1 => of.clone().prop_map(|(group, replica)| Kind::ReplicaActive { group, replica }),
            2 => of.clone().prop_map(|(group, replica)| Kind::RetireReplica { group, replica }),
            3 => of.prop_map(|(group, replica)| Kind::DropReplica { group, replica }),
            2 => (minted.clone(), mode).prop_map(|(n, mode)| Kind::Close { store: store(n), mode, declared_by: "u".into() }),
            2 => minted.prop_map(|n| Kind::StoreGone(store(n))),
            1 => node.clone().prop_map(Kind::Drain),
            1 => node.clone().prop_map(Kind::CancelDrain),
            1 => node.clone().prop_map(Kind::Drained),
            1 => (node.clone(), prop::option::of(node.clone())).prop_map(|(old, new)| Kind::Replace { old, new }),
            1 => node.clone().prop_map(Kind::Replaced),
            1 => (node.clone(), holder.clone()).prop_map(|(node, holder)| Kind::AcquireGrant { node, holder, ttl_us: 5 }),
            1 => (node, holder).prop_map(|(node, holder)| Kind::ReleaseGrant { node, holder }),
            1 => (1u32..4).prop_map(|stores| Kind::RaiseRules(Rules { catalogue: 1, stores })),
        ]
    }

    /// Returns the rows with different values, counters excluded.
    fn changed(a: &Catalogue, b: &Catalogue) -> Rows {
        let mut rows = Rows::new();
        let nodes = a.nodes.keys().chain(b.nodes.keys()).filter(|id| a.nodes.get(id) != b.nodes.get(id));
        rows.extend(nodes.map(|id| Touched::Node(*id)));
        let stores = a.stores.keys().chain(b.stores.keys()).filter(|id| a.stores.get(id) != b.stores.get(id));
        rows.extend(stores.map(|id| Touched::Store(*id)));
        let groups = a.groups.keys().chain(b.groups.keys()).filter(|id| a.groups.get(id) != b.groups.get(id));
        rows.extend(groups.map(|id| Touched::Group(*id)));
        rows.extend(a.removed_stores.symmetric_difference(&b.removed_stores).map(|id| Touched::RemovedStore(*id)));
        rows
    }

    fn check(c: &Catalogue) -> Result<(), TestCaseError> {
        for (id, group) in &c.groups {
            let nodes: Vec<NodeId> = group.nodes().collect();
            let unique: BTreeSet<NodeId> = nodes.iter().copied().collect();
            prop_assert_eq!(nodes.len(), unique.len(), "two replicas of group {} on a node", id);
            prop_assert!(id.get() < c.next_group);
            prop_assert!(group.replicas.keys().all(|r| r.get() < c.next_replica));
            let removed = |n: &NodeId| matches!(c.nodes[n].state, NodeState::Removed { .. });
            prop_assert!(!nodes.iter().any(removed), "a replica on a removed node");
            prop_assert_eq!(c.stores[&group.store].group, *id);
        }
        prop_assert!(c.nodes.keys().all(|n| n.get() < c.next_node));
        prop_assert!(c.stores.keys().all(|s| !c.removed_stores.contains(s)));
        let replacing = c.nodes.values().filter(|n| matches!(n.state, NodeState::Replacing { .. })).count();
        prop_assert!(replacing <= 1);
        for name in ["s0", "s1", "s2"] {
            let named = c.stores.values().filter(|s| s.name.name() == name && s.state == StoreState::Active).count();
            prop_assert!(named <= 1, "two active stores have the same name");
        }
        Ok(())
    }

    proptest! {
        /// Any commands in any order: refusals change no row, all changed rows are reported, ids never decrease, and a
        /// second replica of the log reaches the same state.
        #[test]
        fn any_log_leaves_a_sound_catalogue(kinds in prop::collection::vec((0u64..30, kind()), 1..120)) {
            let (mut c, mut twin) = (cluster(3), cluster(3));
            for (stamp_us, kind) in kinds {
                let before = c.clone();
                let command = Command { rules: RULES, stamp_us, kind };
                let (outcome, touched) = apply(&mut c, &command).unwrap();
                prop_assert_eq!(apply(&mut twin, &command).unwrap(), (outcome.clone(), touched.clone()));
                let changed = changed(&before, &c);
                prop_assert!(touched.is_superset(&changed), "{:?}: {:?} {:?}", command, touched, changed);
                if matches!(outcome, CatalogueOutcome::Refused(_)) {
                    let (clock_us, digest) = (c.clock_us, c.digest);
                    prop_assert_eq!(&c, &Catalogue { clock_us, digest, ..before.clone() });
                }
                let ids = |c: &Catalogue| [c.next_node, c.next_replica, c.next_group, c.next_partition, c.clock_us];
                prop_assert!(ids(&before).iter().zip(ids(&c)).all(|(a, b)| *a <= b));
                prop_assert!(before.removed_stores.is_subset(&c.removed_stores));
                check(&c)?;
            }
            prop_assert_eq!(c, twin);
        }
    }
}

#[test]
fn the_successor_of_a_lost_node_is_another_member() {
    let mut c = cluster(3);
    run(&mut c, 1, Kind::Drain(NodeId::new(2)));
    for wrong in [1, 2, 9].map(NodeId::new) {
        let answer = run(&mut c, 1, Kind::Replace { old: NodeId::new(1), new: Some(wrong) });
        assert_eq!(answer, CatalogueOutcome::Refused(Refused::BadNode(wrong)));
    }
    let answer = run(&mut c, 1, Kind::Replace { old: NodeId::new(1), new: Some(NodeId::new(3)) });
    assert_eq!(answer, CatalogueOutcome::Done);
}
