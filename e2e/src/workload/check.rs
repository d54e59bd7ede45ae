//! The judge.

use super::{History, Outcome, Seen, Target};
use anyhow::{Context, bail, ensure};
use std::{collections::BTreeMap, time::Duration};
use taffrail_proto::v1;
use tokio::time::Instant;

/// What was found to be true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Batches acknowledged, and there.
    pub acknowledged: usize,
    /// Batches rejected, and absent.
    pub rejected: usize,
    /// Batches without any answer.
    pub unknown: usize,
    /// Retries that got the first answer.
    pub retried: usize,
    /// Events stored.
    pub events: usize,
    /// Subscribers that saw all of them once and in order.
    pub subscribers: usize,
}

/// Reads the whole store, linearizably, from whichever pod answers.
///
/// # Errors
/// When none does until `end`.
pub async fn read_all(target: &Target, end: Instant) -> anyhow::Result<Vec<v1::RecordedEvent>> {
    let mut pod = 0;
    loop {
        let failed = match read_from(target, pod).await {
            Ok(events) => return Ok(events),
            Err(e) => e,
        };
        if Instant::now() >= end {
            return Err(failed.context("no pod could be read"));
        }
        pod += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn read_from(target: &Target, pod: usize) -> anyhow::Result<Vec<v1::RecordedEvent>> {
    let client = target.client(pod).context("no pods")?;
    let all = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    let request = v1::ReadRequest { selector: Some(all), ..v1::ReadRequest::default() };
    Ok(client.read(request).await?.rest().await?)
}

/// Holds what is stored, and what subscribers saw, against what writers were told.
///
/// # Errors
/// The first difference.
pub fn check(histories: &[History], stored: &[v1::RecordedEvent], seen: &[Seen]) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict { events: stored.len(), subscribers: seen.len(), ..Verdict::default() };
    let by_id = index(stored)?;
    for history in histories {
        if let Some(contradiction) = history.contradictions.first() {
            bail!("contradiction: {contradiction}");
        }
        verdict.retried += history.retried;
        for record in &history.records {
            let found: Vec<Option<&v1::RecordedEvent>> =
                record.ids.iter().map(|id| by_id.get(id.to_string().as_str()).copied()).collect();
            let there = found.iter().flatten().count();
            ensure!(
                there == 0 || there == found.len(),
                "{}: a batch is there in part: {:?}",
                record.stream,
                record.ids
            );
            match record.outcome {
                Outcome::Acknowledged { revision, position } => {
                    verdict.acknowledged += 1;
                    ensure!(there > 0, "{}: acknowledged at revision {revision} and lost", record.stream);
                    for (n, event) in (0_u64..).zip(found.into_iter().flatten()) {
                        ensure!(
                            (event.revision, event.position) == (revision + n, position + n)
                                && event.stream == record.stream,
                            "{}: acknowledged at {revision}, stored at {}",
                            record.stream,
                            event.revision
                        );
                    }
                }
                Outcome::Rejected => {
                    verdict.rejected += 1;
                    ensure!(there == 0, "{}: rejected, and stored: {:?}", record.stream, record.ids);
                }
                Outcome::Unknown => verdict.unknown += 1,
            }
        }
    }
    let told: usize = histories.iter().flat_map(|h| &h.records).map(|r| r.ids.len()).sum();
    ensure!(stored.len() <= told, "{} events are stored, {told} were ever sent", stored.len());
    for subscriber in seen {
        compare(subscriber, stored)?;
    }
    Ok(verdict)
}

/// By id; and on the way: every id once, positions rising, revisions without gaps.
fn index(stored: &[v1::RecordedEvent]) -> anyhow::Result<BTreeMap<&str, &v1::RecordedEvent>> {
    let (mut by_id, mut next, mut last) = (BTreeMap::new(), BTreeMap::<&str, u64>::new(), 0);
    for event in stored {
        ensure!(event.position > last, "position {} after {last}", event.position);
        last = event.position;
        let expected = next.entry(event.stream.as_str()).or_default();
        ensure!(
            event.revision == *expected,
            "{}: revision {} where {expected} must follow",
            event.stream,
            event.revision
        );
        *expected += 1;
        ensure!(by_id.insert(event.id.as_str(), event).is_none(), "event {} is stored twice", event.id);
        ensure!(event.data.as_ref() == event.id.as_bytes(), "event {} has other bytes than were sent", event.id);
    }
    Ok(by_id)
}

fn compare(seen: &Seen, stored: &[v1::RecordedEvent]) -> anyhow::Result<()> {
    let pod = seen.pod;
    for (n, event) in stored.iter().enumerate() {
        let Some(got) = seen.events.get(n) else {
            bail!("the subscriber of pod {pod} saw {} of {} events", seen.events.len(), stored.len());
        };
        let expected = (event.position, &event.stream, event.revision, &event.id);
        ensure!(
            (got.0, &got.1, got.2, &got.3) == expected,
            "the subscriber of pod {pod} saw {got:?} where {expected:?} follows"
        );
    }
    ensure!(seen.events.len() == stored.len(), "the subscriber of pod {pod} saw an event that is not stored");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Record;
    use uuid::Uuid;

    fn event(n: u64, id: Uuid) -> v1::RecordedEvent {
        let id = id.to_string();
        v1::RecordedEvent {
            data: id.clone().into(),
            id,
            stream: "s".into(),
            revision: n,
            position: n + 1,
            ..v1::RecordedEvent::default()
        }
    }

    fn history(ids: &[Uuid], outcome: Outcome) -> History {
        let record = Record { stream: "s".into(), ids: ids.to_vec(), outcome };
        History { records: vec![record], ..History::default() }
    }

    #[test]
    fn the_judge_finds_what_is_wrong() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let stored = [event(0, a), event(1, b)];
        let acknowledged = |revision| Outcome::Acknowledged { revision, position: revision + 1 };
        let seen = |events: &[v1::RecordedEvent]| Seen {
            pod: 0,
            events: events.iter().map(|e| (e.position, e.stream.clone(), e.revision, e.id.clone())).collect(),
        };
        let both = history(&[a, b], acknowledged(0));
        assert_eq!(check(std::slice::from_ref(&both), &stored, &[seen(&stored)]).unwrap().acknowledged, 1);
        assert!(check(std::slice::from_ref(&both), &stored[..1], &[]).is_err(), "a batch in part");
        assert!(check(std::slice::from_ref(&both), &[], &[]).is_err(), "a lost batch");
        assert!(check(&[history(&[a, b], acknowledged(1))], &stored, &[]).is_err(), "another revision");
        assert!(check(&[history(&[a, b], Outcome::Rejected)], &stored, &[]).is_err(), "a rejected batch");
        assert!(check(std::slice::from_ref(&both), &[event(0, a), event(1, a)], &[]).is_err(), "a duplicate");
        assert!(check(std::slice::from_ref(&both), &[event(0, a), event(2, b)], &[]).is_err(), "a gap");
        assert!(
            check(std::slice::from_ref(&both), &stored, &[seen(&stored[..1])]).is_err(),
            "a subscriber that missed one"
        );
        let twice = [event(0, a), event(0, a), event(1, b)];
        assert!(check(&[both], &stored, &[seen(&twice)]).is_err(), "a subscriber that saw one twice");
    }
}
