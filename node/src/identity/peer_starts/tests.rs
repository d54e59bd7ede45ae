use super::*;
use futures::FutureExt;
use taffrail_proto::peer::LogFloor;
use tokio::time::Instant;

/// A file in memory that counts its writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct InMemory {
    content: Arc<Mutex<Option<Vec<u8>>>>,
    writes: Arc<std::sync::atomic::AtomicUsize>,
}

impl InMemory {
    fn writes(&self) -> usize {
        self.writes.load(std::sync::atomic::Ordering::SeqCst)
    }
    pub(crate) fn open(&self) -> Arc<PeerStarts> {
        PeerStarts::open(Box::new(self.clone()), Arc::new(|e| panic!("{e}"))).unwrap()
    }
}

impl RecordFile for InMemory {
    fn path(&self) -> PathBuf {
        PathBuf::from(PEER_STARTS)
    }
    fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.content).clone())
    }
    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.writes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        *lock(&self.content) = Some(bytes.to_vec());
        Ok(())
    }
}

const DISK: DiskId = DiskId::new(Uuid::from_u128(7));

fn place(batch: u64) -> LogFloor {
    LogFloor { segment: 0, batch }
}

/// The identity of a disk with these starts (nonce, place) and this present place.
fn identity(starts: &[(u64, u64)], now: u64) -> Identity {
    Identity {
        disk_id: DISK.to_bytes().to_vec().into(),
        nonces: starts.iter().map(|(nonce, _)| *nonce).collect(),
        start_floors: starts.iter().map(|(_, batch)| place(*batch)).collect(),
        floor: Some(place(now)),
        ..Identity::default()
    }
}

fn seen(nonce: u64, batch: u64) -> Seen {
    Seen { nonce, floor: Floor { segment: 0, batch } }
}

#[tokio::test]
async fn a_disk_that_goes_on_is_accepted_and_a_disk_that_went_back_is_refused_also_after_a_restart() {
    let file = InMemory::default();
    let starts = file.open();
    assert_eq!(starts.meet(&identity(&[(1, 0)], 50)).await, Ok(()), "a first meeting");
    assert_eq!(starts.meet(&identity(&[(1, 0)], 80)).await, Ok(()));
    assert_eq!(starts.meet(&identity(&[(1, 0)], 60)).await, Ok(()), "a late message of the same start");
    assert_eq!(starts.meet(&identity(&[(1, 0), (2, 79)], 900)).await, Err(seen(1, 80)), "began below the place");
    assert_eq!(starts.meet(&identity(&[(1, 0), (2, 80)], 90)).await, Ok(()), "a restart");
    drop(starts);
    let starts = file.open();
    assert_eq!(starts.synced(DISK), Some(seen(2, 90)));
    assert_eq!(starts.meet(&identity(&[(1, 0), (3, 80)], 900)).await, Err(seen(2, 90)), "lacks the second start");
    assert_eq!(starts.meet(&Identity { nonces: Vec::new(), ..identity(&[], 0) }).await, Err(seen(2, 90)));
    assert_eq!(starts.meet(&identity(&[(1, 0), (2, 80), (4, 90)], 90)).await, Ok(()));
}

#[tokio::test]
async fn a_new_start_is_synced_at_once_and_higher_places_once_a_second() {
    tokio::time::pause();
    let file = InMemory::default();
    let (starts, stop) = (file.open(), CancellationToken::new());
    let writer = rt::spawn(Arc::clone(&starts).write_behind(stop.clone()));
    starts.meet(&identity(&[(1, 0)], 10)).await.unwrap();
    assert_eq!((file.writes(), starts.synced(DISK)), (1, Some(seen(1, 10))), "before the peer is accepted");
    let begun = Instant::now();
    for batch in 11..=3_010 {
        starts.meet(&identity(&[(1, 0)], batch)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (writes, seconds) = (file.writes(), usize::try_from(begun.elapsed().as_secs()).unwrap());
    assert!(seconds >= 3 && (seconds..=seconds + 2).contains(&writes), "{writes} writes in {seconds} seconds");
    tokio::time::sleep(WRITE_EVERY * 2).await;
    assert_eq!(starts.synced(DISK), Some(seen(1, 3_010)));
    let writes = file.writes();
    tokio::time::sleep(WRITE_EVERY * 5).await;
    assert_eq!(file.writes(), writes, "nothing changed");
    stop.cancel();
    writer.await.unwrap();
}

#[tokio::test]
async fn a_second_handshake_of_a_start_waits_for_the_write_of_the_first() {
    let file = InMemory::default();
    let starts = file.open();
    let start = identity(&[(1, 0)], 10);
    let (mut first, mut second) = (Box::pin(starts.meet(&start)), Box::pin(starts.meet(&start)));
    {
        let _disk_is_busy = lock(&file.content);
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none(), "accepted before the start is synced");
    }
    assert_eq!((first.await, second.await), (Ok(()), Ok(())));
    assert_eq!((file.writes(), starts.synced(DISK)), (1, Some(seen(1, 10))));
}

#[tokio::test]
async fn the_evidence_against_the_own_disk_outlives_a_restart_and_ends_with_the_disk_id() {
    let file = InMemory::default();
    file.open().accuse(DISK, seen(5, 6)).await;
    let again = file.open();
    assert_eq!(again.against(DISK), Some(seen(5, 6)));
    assert_eq!(again.against(DiskId::new(Uuid::from_u128(8))), None);
}

#[test]
fn the_disk_that_started_first_is_forgotten_first() {
    let disk = |n: usize| DiskId::new(Uuid::from_u128(n as u128));
    let mut records = Records::default();
    for n in 0..=DISKS_MAX {
        assert!(records.note(disk(n), seen(1, 1)));
    }
    assert_eq!((records.of(disk(0)), records.of(disk(1))), (None, Some(seen(1, 1))));
    assert_eq!(records.peers.len(), DISKS_MAX);
}

/// Existing disks contain these bytes, so they must stay readable.
#[test]
fn the_bytes_of_the_file_are_these_and_damage_is_refused() {
    let records = Records {
        peers: vec![Record::new(DISK, Seen { nonce: u64::MAX, floor: Floor { segment: 2, batch: 3 } })],
        own: Some(Record::new(DISK, seen(4, 5))),
    };
    let golden = include_str!("golden.json");
    assert_eq!(String::from_utf8(records.encode().unwrap()).unwrap(), golden.trim_end());
    let decode = |text: &str| Records::decode(Path::new(PEER_STARTS), text.as_bytes());
    assert_eq!(decode(golden).unwrap(), records);
    assert!(matches!(decode(&golden.replacen("\"batch\": 3", "\"batch\": 2", 1)), Err(Error::Damaged { .. })));
    assert!(matches!(decode(&golden[..golden.len() / 2]), Err(Error::Damaged { .. })));
    assert!(matches!(decode(&golden.replacen("\"format\": 1", "\"format\": 9", 1)), Err(Error::Format { .. })));
}
