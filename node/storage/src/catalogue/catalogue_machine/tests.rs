use super::*;
use crate::store::state_db::Medium;
use taffrail_core::{
    catalogue::{CatalogueOutcome, Command as CatalogueCommand, Kind, RULES, Registration},
    ids::{ClusterId, DiskId},
};
use taffrail_raft::types::{Command, LeaderId, Payload};
use uuid::Uuid;

fn registration(disk: u128) -> Registration {
    let disk = DiskId::new(Uuid::from_u128(disk));
    Registration { disk, name: "main-0".into(), address: String::new(), version: "1".into() }
}

fn entry(index: u64, kind: Kind) -> Entry {
    let command = codec::encode_command(&CatalogueCommand { rules: RULES, stamp_us: index + 1, kind });
    let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    Entry { log_id, payload: Payload::Normal(Command(command)) }
}

fn log() -> Vec<Entry> {
    let cluster = ClusterId::new(Uuid::from_u128(9));
    let init = entry(0, Kind::Init { cluster, first: registration(1) });
    std::iter::once(init).chain((1..4).map(|n| entry(n, Kind::Register(registration(u128::from(n) + 1))))).collect()
}

fn open(db: &Arc<StateDb>) -> (CatalogueMachine, watch::Receiver<Arc<Catalogue>>) {
    let (published, seen) = watch::channel(Arc::new(Catalogue::default()));
    (CatalogueMachine::open(Arc::clone(db), Arc::new(published)).unwrap(), seen)
}

#[test]
fn an_entry_that_does_not_follow_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap());
    let (mut machine, seen) = open(&db);
    let log = log();
    machine.apply(&log[..2]).unwrap();
    let before = (machine.digest(), machine.applied().0, Arc::clone(&seen.borrow()));
    for (what, entries) in [("a gap", &log[3..]), ("a repeat", &log[1..2]), ("a repeat, then a gap", &log[..1])] {
        let refused = machine.apply(entries);
        assert!(matches!(refused, Err(MachineError::Corrupt(_))), "{what}: {refused:?}");
        assert_eq!((machine.digest(), machine.applied().0, Arc::clone(&seen.borrow())), before, "{what}");
    }
    let gap_inside = [log[2].clone(), entry(5, Kind::Register(registration(9)))];
    assert!(machine.apply(&gap_inside).is_err());
    assert_eq!(machine.digest(), before.0, "a slice is applied whole or not at all");
    drop(machine);
    let (mut machine, _) = open(&db);
    let replies = machine.apply(&log[2..]).unwrap();
    assert!(replies.iter().all(|r| matches!(r, Reply::Catalogue(CatalogueOutcome::Node(_)))), "{replies:?}");
    assert_eq!(machine.catalogue.nodes.len(), 4);
}

#[tokio::test]
async fn an_older_catalogue_is_refused_and_the_next_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| Arc::new(StateDb::open(&dir.path().join(name), &Medium::Disk).unwrap());
    let log = log();
    let applied = |name: &str, entries: &[Entry]| {
        let db = at(name);
        let (mut machine, seen) = open(&db);
        machine.apply(entries).unwrap();
        (db, machine, seen)
    };
    let (older, ..) = applied("older", &log[..2]);
    let (newer, whole, _) = applied("newer", &log);
    let (_, mut machine, seen) = applied("own", &log[..3]);
    let before = (machine.digest(), machine.applied().0, Arc::clone(&seen.borrow()));
    let mut take = async |from: &Arc<StateDb>| {
        machine.begin_install().unwrap();
        let mut chunks = send(Arc::clone(from), &CatchUpLimits::new(1)).unwrap();
        let mut taken = Ok(());
        while let Some(chunk) = chunks.recv().await {
            taken = taken.and_then(|()| machine.install(chunk.unwrap()));
        }
        machine.abort_install().unwrap();
        (taken, machine.digest(), machine.applied().0)
    };
    let (taken, digest, index) = take(&older).await;
    assert!(matches!(taken, Err(MachineError::Corrupt(_))), "{taken:?}");
    assert_eq!((digest, index, Arc::clone(&seen.borrow())), before, "the published catalogue never goes back");
    let (taken, digest, index) = take(&newer).await;
    assert!(taken.is_ok(), "{taken:?}");
    assert_eq!((digest, index), (whole.digest(), whole.applied().0));
    assert_eq!(seen.borrow().nodes.len(), 4);
}
