use super::{marks::Marks, *};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn the_reserve_follows_the_size_of_the_disk_up_to_a_gibibyte() {
    let marks = |total| Marks::of(total, MarkSettings::default());
    assert_eq!(marks(512 * MIB), Marks { soft_bytes: 64 * MIB, hard_bytes: 32 * MIB });
    assert_eq!(marks(8 * GIB), Marks { soft_bytes: GIB, hard_bytes: 512 * MIB });
    assert_eq!(marks(8192 * GIB), marks(8 * GIB));
    assert_eq!(marks(0), Marks { soft_bytes: 0, hard_bytes: 0 });
}

#[test]
fn a_setting_replaces_its_mark_and_moves_the_other() {
    let marks = |soft_bytes, hard_bytes| {
        let marks = Marks::of(8 * GIB, MarkSettings { soft_bytes, hard_bytes });
        (marks.soft_bytes, marks.hard_bytes)
    };
    assert_eq!(marks(Some(100), None), (100, 50));
    assert_eq!(marks(None, Some(MIB)), (GIB, MIB));
    assert_eq!(marks(None, Some(GIB)), (2 * GIB, GIB));
    assert_eq!(marks(Some(3), Some(2)), (3, 2));
}

#[test]
fn a_level_is_left_only_once_an_eighth_more_is_free() {
    let marks = Marks { soft_bytes: 800, hard_bytes: 400 };
    let mut level = Level::Enough;
    let mut at = |free_bytes| {
        level = marks.level(level, Space { total_bytes: 8000, free_bytes });
        level
    };
    let filling = [800, 799, 800, 899, 400, 399, 400, 449].map(&mut at);
    use Level::{Enough, Full, Low};
    assert_eq!(filling, [Enough, Low, Low, Low, Low, Full, Full, Full]);
    let emptying = [450, 449, 399, 899, 900, 800, 0, 8000].map(&mut at);
    assert_eq!(emptying, [Low, Low, Full, Low, Enough, Enough, Full, Enough]);
}

/// A disk of 8,000 bytes.
struct Disk(AtomicU64);

impl MeasureSpace for Disk {
    fn space(&self) -> io::Result<Space> {
        match self.0.load(Ordering::SeqCst) {
            u64::MAX => Err(io::Error::other("the disk does not answer")),
            free_bytes => Ok(Space { total_bytes: 8000, free_bytes }),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_learns_of_a_full_disk_and_of_room_again() {
    let disk = Arc::new(Disk(AtomicU64::new(5000)));
    let settings = MarkSettings { soft_bytes: Some(800), hard_bytes: None };
    let space = DiskSpace::new(Arc::clone(&disk) as _, settings);
    assert_eq!(space.now().measured(), Some(Space { total_bytes: 8000, free_bytes: 5000 }));
    let (room, stop) = (space.room(), CancellationToken::new());
    let following = taffrail_runtime::spawn(Arc::clone(&space).follow(stop.clone()));
    for (free, level) in [
        (5000, Level::Enough),
        (700, Level::Low),
        (850, Level::Low),
        (u64::MAX, Level::Low),
        (300, Level::Full),
        (600, Level::Low),
        (2000, Level::Enough),
    ] {
        disk.0.store(free, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((space.now().level, *room.borrow()), (level, level == Level::Enough), "{free} bytes are free");
    }
    stop.cancel();
    following.await.unwrap();
}
