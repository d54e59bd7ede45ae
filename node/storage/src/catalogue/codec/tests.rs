use super::*;
use taffrail_core::catalogue;
use uuid::Uuid;

fn store_id(n: u128) -> StoreId {
    StoreId::new(Uuid::from_u128(n))
}

fn registration(disk: u128) -> Registration {
    Registration {
        disk: DiskId::new(Uuid::from_u128(disk)),
        name: format!("main-{disk}"),
        address: format!("10.0.0.{disk}:2114"),
        version: "0.1.0".into(),
    }
}

fn declaration(adopt: Option<StoreId>) -> Declaration {
    Declaration {
        name: StoreName::new("shop", "orders").unwrap(),
        replicas: 3,
        adopt,
        minted: store_id(10),
        declared_by: "uid".into(),
    }
}

/// Returns one command of every kind, in the order of the wire format. The match keeps the list complete.
fn kinds() -> Vec<Kind> {
    let (group, node, replica) = (GroupId::new(1), NodeId::new(2), ReplicaId::new(1_000_003));
    let all = vec![
        Kind::Init { cluster: ClusterId::new(Uuid::from_u128(9)), first: registration(1) },
        Kind::Register(registration(2)),
        Kind::Declare(declaration(None)),
        Kind::Declare(declaration(Some(store_id(11)))),
        Kind::GroupFormed(group),
        Kind::AddReplica { group, node },
        Kind::ReplicaActive { group, replica },
        Kind::RetireReplica { group, replica },
        Kind::DropReplica { group, replica },
        Kind::Close { store: store_id(10), mode: CloseMode::Retain, declared_by: "uid".into() },
        Kind::Close { store: store_id(10), mode: CloseMode::Delete, declared_by: String::new() },
        Kind::StoreGone(store_id(10)),
        Kind::Drain(node),
        Kind::CancelDrain(node),
        Kind::Drained(node),
        Kind::Replace { old: node, new: Some(NodeId::new(4)) },
        Kind::Replace { old: node, new: None },
        Kind::Replaced(node),
        Kind::AcquireGrant { node, holder: "operator".into(), ttl_us: 60_000_000 },
        Kind::ReleaseGrant { node, holder: "operator".into() },
        Kind::FormAgain { group, nodes: [node, NodeId::new(4), NodeId::new(5)].into() },
        Kind::Contradicted { group, index: Some(256) },
        Kind::Contradicted { group, index: None },
        Kind::CreateStore(NewStore {
            name: StoreName::new("shop", "orders").unwrap(),
            replicas: 3,
            minted: store_id(10),
        }),
        Kind::RemoveStore(store_id(10)),
        Kind::RaiseRules(Rules { catalogue: RULES, stores: 2 }),
    ];
    for kind in &all {
        match kind {
            Kind::Init { .. }
            | Kind::Register(_)
            | Kind::Declare(_)
            | Kind::GroupFormed(_)
            | Kind::AddReplica { .. }
            | Kind::ReplicaActive { .. }
            | Kind::RetireReplica { .. }
            | Kind::DropReplica { .. }
            | Kind::Close { .. }
            | Kind::StoreGone(_)
            | Kind::Drain(_)
            | Kind::CancelDrain(_)
            | Kind::Drained(_)
            | Kind::Replace { .. }
            | Kind::Replaced(_)
            | Kind::AcquireGrant { .. }
            | Kind::ReleaseGrant { .. }
            | Kind::FormAgain { .. }
            | Kind::Contradicted { .. }
            | Kind::CreateStore(_)
            | Kind::RemoveStore(_)
            | Kind::RaiseRules(_) => {}
        }
    }
    all
}

fn commands() -> Vec<Command> {
    kinds().into_iter().map(|kind| Command { rules: RULES, stamp_us: 1_700_000_000_000_000, kind }).collect()
}

fn outcomes() -> Vec<CatalogueOutcome> {
    let refusals = [
        Refused::WrongCluster,
        Refused::NotEnoughNodes { wanted: 3, have: 2 },
        Refused::RetainedDataExists { id: store_id(10), at_us: 5 },
        Refused::NameTaken { by: "uid".into() },
        Refused::StoreNotFound(store_id(10)),
        Refused::StoreRemoving(store_id(10)),
        Refused::InvalidReplicas(2),
        Refused::BadNode(NodeId::new(2)),
        Refused::BadReplica(GroupId::new(1)),
        Refused::StillNamed(GroupId::new(1)),
        Refused::GrantHeld { node: NodeId::new(2), holder: "operator".into() },
        Refused::StoreExists { id: store_id(10), replicas: 3 },
        Refused::Declared { id: store_id(10), by: "uid".into() },
        Refused::UpgradePending { rules: 2, in_force: 1 },
    ];
    let answers = [
        CatalogueOutcome::Done,
        CatalogueOutcome::Node(NodeId::new(2)),
        CatalogueOutcome::NodeRemoved { forced: true, node: NodeId::new(2) },
        CatalogueOutcome::NodeRemoved { forced: false, node: NodeId::new(2) },
        CatalogueOutcome::Store(store_id(10)),
        CatalogueOutcome::Replica(ReplicaId::new(1_000_003)),
    ];
    answers.into_iter().chain(refusals.map(CatalogueOutcome::Refused)).collect()
}

/// Values by kind and id, as on disk.
type Rows = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// Builds a catalogue with a row in every state, and the rows written command by command.
fn lived() -> (Catalogue, Rows) {
    let (mut c, mut disk) = (Catalogue::default(), BTreeMap::new());
    let mut run = |kind: Kind| {
        let command = Command { rules: RULES, stamp_us: 7, kind };
        let (outcome, touched) = catalogue::apply(&mut c, &command).unwrap();
        assert!(!matches!(outcome, CatalogueOutcome::Refused(_)), "{command:?}: {outcome:?}");
        for (kind, id, value) in rows(&c, &touched) {
            match value {
                Some(value) => drop(disk.insert((kind, id), value)),
                None => drop(disk.remove(&(kind, id))),
            }
        }
    };
    let named = |name: &str, minted: u128| {
        let name = StoreName::new("shop", name).unwrap();
        Kind::Declare(Declaration { name, replicas: 1, adopt: None, minted: store_id(minted), declared_by: "u".into() })
    };
    let close = |n: u128, mode: CloseMode| Kind::Close { store: store_id(n), mode, declared_by: "u".into() };
    run(Kind::Init { cluster: ClusterId::new(Uuid::from_u128(9)), first: registration(1) });
    (2..=6).for_each(|disk| run(Kind::Register(registration(disk))));
    for (name, minted) in [("active", 20), ("retained", 21), ("removing", 22), ("gone", 23), ("creating", 24)] {
        run(named(name, minted));
    }
    run(Kind::GroupFormed(GroupId::new(1)));
    run(Kind::AddReplica { group: GroupId::new(1), node: NodeId::new(6) });
    run(close(21, CloseMode::Retain));
    run(close(22, CloseMode::Delete));
    run(close(23, CloseMode::Delete));
    run(Kind::DropReplica { group: GroupId::new(4), replica: ReplicaId::new(1_000_003) });
    run(Kind::StoreGone(store_id(23)));
    run(Kind::Drain(NodeId::new(4)));
    run(Kind::Drained(NodeId::new(4)));
    run(Kind::Drain(NodeId::new(3)));
    run(Kind::Replace { old: NodeId::new(2), new: Some(NodeId::new(6)) });
    run(Kind::AcquireGrant { node: NodeId::new(1), holder: "operator".into(), ttl_us: 60 });
    (c, disk)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_command_decodes_to_what_was_encoded() {
    for command in commands() {
        assert_eq!(decode_command(encode_command(&command)).unwrap(), command);
    }
}

#[test]
fn every_outcome_decodes_to_what_was_encoded() {
    for outcome in outcomes() {
        assert_eq!(decode_outcome(encode_outcome(&outcome)).unwrap(), outcome);
    }
}

#[test]
fn rows_written_command_by_command_are_the_whole_catalogue() {
    let (c, disk) = lived();
    let whole: BTreeMap<(u8, Vec<u8>), Vec<u8>> =
        all_rows(&c).into_iter().map(|(kind, id, value)| ((kind, id), value.unwrap())).collect();
    assert_eq!(disk, whole);
    let read = from_rows(disk.iter().map(|((kind, _), value)| (*kind, value.as_slice()))).unwrap();
    assert_eq!(read, c);
    assert!(read.removed_stores.contains(&store_id(23)));
}

#[test]
fn what_is_not_known_is_an_error() {
    let blank = pb::CatalogueCommand { rules: 1, stamp_us: 1, kind: None };
    assert!(decode_command(blank.encode_to_vec().into()).unwrap_err().to_string().contains("not know"));
    assert!(decode_command(Bytes::from_static(&[0xff])).is_err());
    assert!(decode_outcome(pb::CatalogueAnswer { kind: None }.encode_to_vec().into()).is_err());
    assert!(from_rows([(99, [].as_slice())].into_iter()).unwrap_err().to_string().contains("kind 99"));
    let later = pb::CatalogueHeader { format: FORMAT + 1, ..Default::default() }.encode_to_vec();
    assert!(from_rows([(1, later.as_slice())].into_iter()).unwrap_err().to_string().contains("format"));
    let short = pb::RemovedStoreRow { id: Bytes::from_static(&[1]) }.encode_to_vec();
    assert!(from_rows([(5, short.as_slice())].into_iter()).unwrap_err().to_string().contains("16 bytes"));
}

/// Compares the bytes of every command, answer and row with the golden file. The file may only gain lines; data behind
/// a changed line would no longer open.
#[test]
fn bytes_are_those_of_the_golden_file() {
    let mut text = String::new();
    for command in commands() {
        text += &format!("command {}\n", hex(&encode_command(&command)));
    }
    for outcome in outcomes() {
        text += &format!("answer {}\n", hex(&encode_outcome(&outcome)));
    }
    let (mut c, _) = lived();
    // The digest has its own rules and its own test.
    c.digest = Digest([7; 32]);
    for (kind, id, value) in all_rows(&c) {
        text += &format!("row {kind} {} {}\n", hex(&id), hex(&value.unwrap()));
    }
    let group = GroupId::new(1);
    c.groups.get_mut(&group).unwrap().contradicted = Some(256);
    for (kind, id, value) in rows(&c, &[Touched::Group(group)].into()) {
        let value = value.unwrap();
        assert_eq!(group_from(&value).unwrap(), (group, c.groups[&group].clone()));
        text += &format!("row {kind} {} {}\n", hex(&id), hex(&value));
    }
    crate::golden::check("src/catalogue/codec/golden.txt", &text);
}

#[test]
fn the_header_keeps_raised_rules_and_unknown_rules_are_refused() {
    let read = |rules: Rules| {
        let rows = all_rows(&Catalogue { rules, ..lived().0 });
        from_rows(rows.iter().filter_map(|(kind, _, value)| Some((*kind, value.as_deref()?))))
    };
    for rules in [Rules::FIRST, Rules { catalogue: RULES, stores: 2 }] {
        assert_eq!(read(rules).unwrap().rules, rules);
    }
    let unknown = read(Rules { catalogue: RULES + 1, stores: 1 });
    assert!(unknown.unwrap_err().to_string().contains("upgrade this node"));
}
