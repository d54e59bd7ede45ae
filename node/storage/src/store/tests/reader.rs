use super::harness::*;
use crate::store::store_machine::delete_group;
use std::collections::BTreeMap;
use taffrail_core::{
    event::RecordedEvent,
    ids::{Position, Revision},
    names::StreamName,
    stream::visibility::StreamLimits,
};
use taffrail_raft::machine::Machine;
use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReader};

/// Computes the expected page from all events.
fn expected(
    all: impl Iterator<Item = RecordedEvent>,
    bounds: PageBounds,
) -> (Vec<RecordedEvent>, Option<RecordedEvent>) {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for event in all {
        let size = event.event.size();
        if !page.is_empty() && (page.len() >= bounds.events_max || bytes + size > bounds.bytes_max) {
            return (page, Some(event));
        }
        bytes += size;
        page.push(event);
    }
    (page, None)
}

fn all_bounds() -> Vec<PageBounds> {
    let mut out = Vec::new();
    for events_max in [1, 2, 5, usize::MAX] {
        for bytes_max in [0, 150, usize::MAX] {
            out.push(PageBounds { events_max, bytes_max });
        }
    }
    out
}

#[test]
fn pages_of_everything_are_those_of_a_list() {
    let r = Replica::with(&log(11, 60));
    let all = r.events();
    let end = all.len() as u64;
    assert!(all.iter().zip(1..).all(|(e, p)| e.position.get() == p), "positions rise by one");
    for bounds in all_bounds() {
        for from in
            [None, Some(0), Some(1), Some(2), Some(end / 2), Some(end), Some(end + 1), Some(Position::MAX.get())]
        {
            let at = from.map(|p| Position::new(p).unwrap());
            let page = r.reader().read_all(at, Direction::Forward, bounds).unwrap();
            let (events, next) = expected(all.iter().filter(|e| e.position >= at.unwrap_or_default()).cloned(), bounds);
            assert_eq!((page.events, page.next), (events, next.map(|e| e.position)), "forward {from:?} {bounds:?}");
            let page = r.reader().read_all(at, Direction::Backward, bounds).unwrap();
            let below = all.iter().rev().filter(|e| e.position <= at.unwrap_or(Position::MAX));
            let (events, next) = expected(below.cloned(), bounds);
            assert_eq!((page.events, page.next), (events, next.map(|e| e.position)), "backward {from:?} {bounds:?}");
        }
    }
}

#[test]
fn pages_of_a_stream_are_those_of_a_list() {
    let r = Replica::with(&log(12, 80));
    let mut streams = BTreeMap::<StreamName, Vec<RecordedEvent>>::new();
    for event in r.events() {
        streams.entry(event.stream.clone()).or_default().push(event);
    }
    assert_eq!(streams.len(), 4);
    for (stream, all) in &streams {
        assert!(all.iter().zip(0..).all(|(e, n)| e.revision.get() == n), "revisions have no gap");
        let last = all.last().unwrap().revision;
        assert_eq!(r.reader().stream_tail(stream).unwrap(), Some(last));
        for bounds in all_bounds() {
            for from in [
                None,
                Some(0),
                Some(1),
                Some(last.get() / 2),
                Some(last.get()),
                Some(last.get() + 1),
                Some(Revision::MAX.get()),
            ] {
                let at = from.map(|n| Revision::new(n).unwrap());
                let page = r.reader().read_stream(stream, at, Direction::Forward, bounds).unwrap();
                let (events, next) =
                    expected(all.iter().filter(|e| e.revision >= at.unwrap_or_default()).cloned(), bounds);
                assert_eq!((page.events, page.next), (events, next.map(|e| e.revision)), "forward {from:?}");
                let page = r.reader().read_stream(stream, at, Direction::Backward, bounds).unwrap();
                let below = all.iter().rev().filter(|e| e.revision <= at.unwrap_or(Revision::MAX));
                let (events, next) = expected(below.cloned(), bounds);
                assert_eq!((page.events, page.next), (events, next.map(|e| e.revision)), "backward {from:?}");
            }
        }
    }
}

#[test]
fn an_empty_store_has_nothing_and_says_so() {
    let r = Replica::with(&[membership(0)]);
    let name = StreamName::new("orders-1").unwrap();
    let bounds = PageBounds { events_max: 10, bytes_max: 10 };
    for direction in [Direction::Forward, Direction::Backward] {
        let page = r.reader().read_all(None, direction, bounds).unwrap();
        assert!(page.events.is_empty() && page.next.is_none());
        let missing = r.reader().read_stream(&name, None, direction, bounds);
        assert!(matches!(missing, Err(ReadError::StreamNotFound(n)) if n == name));
    }
    assert_eq!(r.reader().stream_tail(&name).unwrap(), None);
    assert_eq!(r.reader().list_streams("", None, 10).unwrap(), []);
    assert_eq!(r.reader().totals().unwrap(), taffrail_store_api::StoreTotals::default());
}

#[test]
fn rows_that_go_between_two_pages_do_not_read_as_an_end() {
    let r = Replica::with(&log(13, 80));
    let (name, bounds) = (StreamName::new("orders-1").unwrap(), PageBounds { events_max: 1, bytes_max: 1 });
    let page = r.reader().read_all(None, Direction::Forward, bounds).unwrap();
    assert!(page.next.is_some());
    delete_group(&r.db, GROUP, PARTITION).unwrap();
    let gone = |e: ReadError| assert!(matches!(e, ReadError::NotServing(_)), "{e}");
    gone(r.reader().read_all(page.next, Direction::Forward, bounds).unwrap_err());
    gone(r.reader().read_stream(&name, None, Direction::Forward, bounds).unwrap_err());
    gone(r.reader().stream_tail(&name).unwrap_err());
    gone(r.reader().list_streams("", None, 10).unwrap_err());
}

#[test]
fn streams_are_listed_by_prefix_in_order_and_in_pages() {
    let r = Replica::with(&log(13, 80));
    let names = |prefix: &str, after: Option<&str>, limit| {
        let after = after.map(|a| StreamName::new(a).unwrap());
        let found = r.reader().list_streams(prefix, after.as_ref(), limit).unwrap();
        assert!(found.iter().all(|s| r.reader().stream_tail(&s.stream).unwrap() == Some(s.last_revision)));
        found.iter().map(|s| s.stream.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("", None, 10), ["$settings", "orders-1", "orders-2", "users"]);
    assert_eq!(names("", None, 2), ["$settings", "orders-1"]);
    assert_eq!(names("", Some("orders-1"), 10), ["orders-2", "users"]);
    assert_eq!(names("orders-", None, 10), ["orders-1", "orders-2"]);
    assert_eq!(names("orders-", Some("orders-1"), 10), ["orders-2"]);
    assert_eq!(names("orders-", Some("a"), 10), ["orders-1", "orders-2"]);
    assert_eq!(names("orders-", Some("zebra"), 10), Vec::<String>::new());
    assert_eq!(names("x", None, 10), Vec::<String>::new());
}

#[test]
fn nothing_is_read_while_another_state_is_taken_over() {
    let mut r = Replica::with(&log(14, 40));
    let (all, name) = (r.events(), StreamName::new("users").unwrap());
    let bounds = PageBounds { events_max: 10, bytes_max: 1000 };
    r.machine.begin_install().unwrap();
    let reader = r.reader();
    assert!(matches!(reader.read_all(None, Direction::Forward, bounds), Err(ReadError::NotServing(_))));
    assert!(matches!(reader.read_stream(&name, None, Direction::Forward, bounds), Err(ReadError::NotServing(_))));
    assert!(matches!(reader.list_streams("", None, 1), Err(ReadError::NotServing(_))));
    assert!(matches!(reader.stream_tail(&name), Err(ReadError::NotServing(_))));
    drop(reader);
    r.machine.abort_install().unwrap();
    let aborted = r.reader().read_all(None, Direction::Forward, bounds);
    assert!(matches!(aborted, Err(ReadError::NotServing(_))), "the group is far ahead of this state");
    assert_eq!(r.crash().unwrap().events(), all);
}

/// Streams with an even last letter hide their first three revisions, in every read at once.
#[test]
fn what_a_stream_hides_is_hidden_from_reads_of_the_stream_and_of_everything() {
    let r = Replica::with(&log(17, 80));
    let hides = |stream: &StreamName| stream.as_str().bytes().last().is_some_and(|last| last.is_multiple_of(2));
    let limits: fn(&StreamName) -> StreamLimits = |stream| {
        let even = stream.as_str().bytes().last().is_some_and(|last| last.is_multiple_of(2));
        if even { StreamLimits { floor: Revision::new(3).unwrap(), max_age_us: None } } else { StreamLimits::default() }
    };
    let reader = r.reader().hiding(limits);
    let whole = PageBounds { events_max: usize::MAX, bytes_max: usize::MAX };
    let all = r.events();
    let shown: Vec<RecordedEvent> =
        all.iter().filter(|e| !hides(&e.stream) || e.revision.get() >= 3).cloned().collect();
    assert!(shown.len() < all.len() && !shown.is_empty(), "the log has hidden and visible events");
    let backward = |events: &[RecordedEvent]| events.iter().rev().cloned().collect::<Vec<_>>();
    assert_eq!(reader.read_all(None, Direction::Forward, whole).unwrap().events, shown);
    assert_eq!(reader.read_all(None, Direction::Backward, whole).unwrap().events, backward(&shown));
    let names: std::collections::BTreeSet<&StreamName> = all.iter().map(|e| &e.stream).collect();
    for name in names {
        let of: Vec<RecordedEvent> = shown.iter().filter(|e| e.stream == *name).cloned().collect();
        assert_eq!(reader.read_stream(name, None, Direction::Forward, whole).unwrap().events, of, "{name}");
        assert_eq!(reader.read_stream(name, None, Direction::Backward, whole).unwrap().events, backward(&of), "{name}");
    }
}
