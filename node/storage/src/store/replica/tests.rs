use super::*;
use taffrail_core::{
    append::ExpectedRevision,
    ids::{EventId, Revision},
    limits::{BATCH_EVENTS_MAX, SHORT_TEXT_BYTES_MAX, TAGS_MAX},
    names::{EventType, StreamName},
};

fn waiting(deadline: Instant) -> Waiting {
    let append =
        Append { stream: StreamName::new("orders").unwrap(), expected: ExpectedRevision::Any, events: Vec::new() };
    Waiting { append, deadline, memory: Arc::new(()), taken: Arc::default(), answer: oneshot::channel().0 }
}

#[tokio::test]
async fn a_full_queue_refuses_long_before_the_deadline() {
    let (queue, rx) = mpsc::channel(1);
    let deadline = Instant::now() + Duration::from_secs(3600);
    assert!(enqueue(&queue, waiting(deadline)).await.is_ok());
    let refused = tokio::time::timeout(QUEUE_WAIT * 100, enqueue(&queue, waiting(deadline))).await;
    assert!(matches!(refused, Ok(Err(AppendError::Overloaded))), "{refused:?}");
    drop(rx);
    assert!(matches!(enqueue(&queue, waiting(deadline)).await, Err(AppendError::NotServing(_))));
}

fn event(data: usize, tags: usize) -> NewEvent {
    let text = |c: char| String::from(c).repeat(SHORT_TEXT_BYTES_MAX);
    NewEvent {
        id: EventId::from_slice(&[7; 16]).unwrap(),
        event_type: EventType::new("OrderPlaced").unwrap(),
        content_type: text('a'),
        data: vec![1; data].into(),
        metadata: vec![2; data / 2].into(),
        tags: vec![text('t'); tags],
        correlation_id: text('c'),
        causation_id: text('d'),
        occurred_at_us: Some(i64::MAX),
    }
}

fn append(events: Vec<NewEvent>) -> Append {
    let expected = ExpectedRevision::Exact(Revision::new(1 << 40).unwrap());
    Append { stream: StreamName::new("orders").unwrap(), expected, events }
}

fn encoded_len(appends: Vec<Append>) -> usize {
    let stamp_us = 1 << 60;
    let appends = appends.into_iter().map(|append| Stamped { append, stamp_us }).collect();
    codec::encode_command(&Command { rules: u32::MAX, kind: Kind::Appends(appends) }).len()
}

#[test]
fn the_counted_size_of_an_append_covers_its_encoding_closely() {
    let many = vec![event(0, TAGS_MAX); BATCH_EVENTS_MAX];
    let bare = NewEvent {
        content_type: String::new(),
        correlation_id: String::new(),
        causation_id: String::new(),
        ..event(0, 0)
    };
    for events in [vec![bare], vec![event(0, 0)], vec![event(1 << 22, 3); 3], many] {
        let append = append(events);
        let (counted, n) = (COMMAND_OVERHEAD + encoded_len_max(&append), append.events.len());
        let encoded = encoded_len(vec![append]);
        assert!(counted >= encoded, "{counted} < {encoded}");
        let slack = COMMAND_OVERHEAD + APPEND_OVERHEAD + n * (EVENT_OVERHEAD + TAGS_MAX * FIELD_OVERHEAD);
        assert!(counted - encoded <= slack, "{counted} is far above {encoded}");
    }
}

/// The entries that queued appends are combined into.
fn entries(appends: Vec<Append>) -> Vec<Vec<Append>> {
    let (tx, mut queue) = mpsc::channel(QUEUE_MAX);
    let deadline = Instant::now();
    for append in appends {
        assert!(tx.try_send(Waiting { append, ..waiting(deadline) }).is_ok());
    }
    let (mut out, mut left_over) = (Vec::new(), None);
    while let Some(first) = left_over.take().or_else(|| queue.try_recv().ok()) {
        let batch = combine(first, &mut queue, &mut left_over);
        out.push(batch.into_iter().map(|w| w.append).collect());
    }
    out
}

#[test]
fn an_entry_is_bounded_by_encoded_bytes_and_keeps_the_order() {
    // 2 KiB of tags and no data in each append.
    let small = || append(vec![event(0, TAGS_MAX)]);
    let combined = entries((0..QUEUE_MAX).map(|_| small()).collect());
    assert_eq!(combined.iter().map(Vec::len).sum::<usize>(), QUEUE_MAX);
    assert!(combined.iter().all(|entry| entry.len() <= ENTRY_APPENDS_MAX));

    let tagged = || append(vec![event(0, TAGS_MAX); 64]);
    let combined = entries((0..40).map(|_| tagged()).collect());
    assert!(combined.len() > 5, "uncounted, all 40 appends would share an entry");
    for entry in &combined {
        assert!(encoded_len(entry.clone()) <= ENTRY_BYTES_MAX);
    }

    let large = append(vec![event(4 << 20, 0); 4]);
    let combined = entries(vec![small(), large.clone(), small(), small()]);
    let sizes: Vec<usize> = combined.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 1, 2], "a large append shares its entry with no other");
    assert!(combined[1][0] == large);
}

#[test]
fn appends_are_proposed_under_the_rules_in_force() {
    assert_eq!(rules(3, 2), 2, "not the rules of the newest binary");
    assert_eq!(rules(3, 3), 3);
    assert_eq!(rules(1, 2), 1, "never rules unknown to this binary");
}
