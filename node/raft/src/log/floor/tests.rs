use super::*;

fn at(batch: u64) -> Floor {
    Floor { segment: 0, batch }
}

fn fatal() -> OnFatal {
    Arc::new(|e| panic!("{e}"))
}

fn typed(e: &io::Error) -> &FloorError {
    e.get_ref().and_then(|e| e.downcast_ref()).unwrap_or_else(|| panic!("not typed: {e}"))
}

/// Existing disks contain these bytes, so they must stay readable.
#[test]
fn the_bytes_of_a_slot_are_these() {
    let slot = Slot { number: 0x0102, floor: Floor { segment: 0x0304, batch: 0x0506 } };
    let mut golden = b"TFLR\0\0\0\x01".to_vec();
    golden.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 5, 6]);
    let encoded = encode(&slot);
    assert_eq!(encoded[..32], golden);
    assert_eq!(encoded[32..], crc32c::crc32c(&golden).to_be_bytes());
    assert_eq!(decode(&encoded), Some((1, slot)));
    for byte in 0..CONTENT_BYTES {
        let mut damaged = encoded;
        damaged[byte] ^= 1;
        assert_eq!(decode(&damaged), None, "byte {byte}");
    }
    assert_eq!(decode(&[0; CONTENT_BYTES]), None);
}

#[test]
fn the_floor_outlives_the_process_and_a_torn_write() {
    let dir = tempfile::tempdir().unwrap();
    let file = FloorFile::open(dir.path()).unwrap();
    assert_eq!(file.floor(), Floor::default());
    let writer = FloorWriter::start(file, at(3), fatal()).unwrap();
    writer.raise(at(7));
    drop(writer);
    let mut file = FloorFile::open(dir.path()).unwrap();
    assert_eq!(file.floor(), at(7), "the last floor is written at the end");
    file.write(at(9)).unwrap();
    file.write(at(12)).unwrap();
    assert_eq!(FloorFile::open(dir.path()).unwrap().floor(), at(12));

    // A torn write of the last slot leaves the floor before.
    let slot = if file.last.number.is_multiple_of(2) { 0 } else { SLOT_BYTES as u64 };
    file.file.write_all_at(b"torn", slot + 20).unwrap();
    assert_eq!(FloorFile::open(dir.path()).unwrap().floor(), at(9));
    file.file.write_all_at(b"torn", SLOT_BYTES as u64 - slot + 20).unwrap();
    let damaged = FloorFile::open(dir.path()).err().unwrap();
    assert!(matches!(typed(&damaged), FloorError::Unreadable { .. }), "{damaged}");
}

#[test]
fn a_later_format_is_never_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let file = FloorFile::open(dir.path()).unwrap();
    let mut later = encode(&Slot::default());
    later[7] = 2;
    let checksum = crc32c::crc32c(&later[..32]);
    later[32..].copy_from_slice(&checksum.to_be_bytes());
    file.file.write_all_at(&later, SLOT_BYTES as u64).unwrap();
    let refused = FloorFile::open(dir.path()).err().unwrap();
    assert!(matches!(typed(&refused), FloorError::Format { format: 2, .. }), "{refused}");
}

#[test]
fn many_raises_cost_few_writes() {
    let dir = tempfile::tempdir().unwrap();
    let writer = FloorWriter::start(FloorFile::open(dir.path()).unwrap(), at(1), fatal()).unwrap();
    (2..=100_000).for_each(|batch| writer.raise(at(batch)));
    drop(writer);
    let file = FloorFile::open(dir.path()).unwrap();
    assert_eq!(file.floor(), at(100_000));
    assert!(file.last.number < 1000, "{} writes", file.last.number);
}

#[tokio::test]
async fn two_writes_of_the_floor_are_at_least_a_tenth_of_a_second_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = FloorFile::open(dir.path()).unwrap();
    let start = tokio::time::Instant::now();
    let writer = FloorWriter::start(file, at(1), fatal()).unwrap();
    let mut batch = 1;
    while start.elapsed() < Duration::from_millis(500) {
        batch += 1;
        writer.raise(at(batch));
        // Far more raises than allowed writes, at any pace: nothing waits for the writer.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(writer);
    let file = FloorFile::open(dir.path()).unwrap();
    assert_eq!(file.floor(), at(batch));
    // The first write and the last write, at the end, wait for nothing.
    let most = 2 + start.elapsed().as_millis() / WRITE_EVERY.as_millis();
    assert!(u128::from(file.last.number) <= most, "{} writes, and {most} are allowed", file.last.number);
}

#[test]
fn a_floor_that_cannot_be_opened_or_read_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(FloorFile::open(dir.path()).is_err());
    assert!(path.is_symlink(), "the file is still in place");
    // A file without permission to read stands for a disk that fails.
    let unreadable = File::options().write(true).create(true).truncate(true).open(dir.path().join("other")).unwrap();
    let e = read(&unreadable, &path).unwrap_err();
    assert!(e.get_ref().is_none(), "a failure of the disk and not a damaged floor: {e}");
}

#[test]
fn a_new_file_has_room_for_both_slots_and_a_shortened_file_keeps_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = FloorFile::open(dir.path()).unwrap();
    let slots = 2 * SLOT_BYTES as u64;
    assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().len(), slots);
    file.write(at(3)).unwrap();
    file.write(at(4)).unwrap();
    assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().len(), slots, "writes stay inside the slots");
    file.file.set_len(SLOT_BYTES as u64).unwrap();
    assert_eq!(FloorFile::open(dir.path()).unwrap().floor(), at(4));
}

#[test]
fn an_unchanged_floor_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = FloorFile::open(dir.path()).unwrap();
    file.write(at(5)).unwrap();
    let number = file.last.number;
    drop(FloorWriter::start(file, at(5), fatal()).unwrap());
    let writer = FloorWriter::start(FloorFile::open(dir.path()).unwrap(), at(4), fatal()).unwrap();
    drop(writer);
    let file = FloorFile::open(dir.path()).unwrap();
    assert_eq!((file.last.number, file.floor()), (number, at(5)), "a floor never falls");
}

#[tokio::test]
async fn a_raised_floor_is_written_while_the_log_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let writer = FloorWriter::start(FloorFile::open(dir.path()).unwrap(), at(1), fatal()).unwrap();
    for batch in [1, 2] {
        writer.raise(at(batch));
        let written = async {
            while FloorFile::open(dir.path()).unwrap().floor() < at(batch) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), written).await.expect("the floor is written");
    }
    drop(writer);
}
