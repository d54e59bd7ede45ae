//! Checks of the stored and delivered events against the recorded responses.

use super::{Expect, History, Observation, Outcome, Target};
use anyhow::{Context, bail, ensure};
use std::{collections::BTreeMap, time::Duration};
use taffrail_proto::v1;
use tokio::time::Instant;

/// Minimum of acknowledged exact appends, out of 3,000, in a run without faults.
const EXACT_MIN: usize = 450;

/// Outcomes of the appends of a writer kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Acknowledged batches, verified as stored.
    pub acknowledged: usize,
    /// Rejected batches, verified as absent.
    pub rejected: usize,
    /// Batches without a response.
    pub unknown: usize,
}

impl Tally {
    /// Returns the total number of batches.
    #[must_use]
    pub fn appends(&self) -> usize {
        self.acknowledged + self.rejected + self.unknown
    }
}

/// The result of a successful check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Outcomes of the writers with exact revisions.
    pub exact: Tally,
    /// Outcomes of the writers with `any`.
    pub any: Tally,
    /// Number of retries with an unchanged response.
    pub retried: usize,
    /// Number of stored events.
    pub events: usize,
    /// Number of subscribers; each received all events once and in order.
    pub subscribers: usize,
    /// Number of times a subscriber continued at another pod.
    pub moved: usize,
    /// Number of failed attempts by reason.
    pub waits: BTreeMap<String, usize>,
    /// Failed attempts without a reason.
    pub unnamed: Vec<String>,
}

impl Verdict {
    /// Checks the numbers of a run without faults: 500 appends for each of the twelve writers.
    ///
    /// # Errors
    /// The first number out of bounds.
    pub fn check_undisturbed(&self, pods: usize) -> anyhow::Result<()> {
        let Self { exact, any, .. } = self;
        ensure!(any.appends() == 3_000 && exact.appends() == 3_000, "not 3,000 appends of each writer kind: {self:?}");
        ensure!(any.acknowledged == 3_000, "an append with `any` was not acknowledged: {self:?}");
        ensure!(exact.unknown == 0, "an exact append without a response: {self:?}");
        // Six writers race for each revision and a single append succeeds: 500 of 3,000 if all writers proceed in step.
        // The real number is lower, because writers get out of step and `any` writers win some races.
        ensure!(exact.acknowledged >= EXACT_MIN, "too few exact appends were acknowledged: {self:?}");
        ensure!(self.retried == 600, "not every tenth append was retried with the same response: {self:?}");
        ensure!(self.subscribers == pods && self.moved == 0, "a subscriber did not stay on its pod: {self:?}");
        Ok(())
    }
}

/// Reads the whole store with linearizable consistency, trying the pods in turn.
///
/// # Errors
/// When no pod can be read until `end`.
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
    Ok(client.read(everything(v1::Consistency::Linearizable)).await?.rest().await?)
}

/// Returns a read request for the whole store from the start.
pub(crate) fn everything(consistency: v1::Consistency) -> v1::ReadRequest {
    let all = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    v1::ReadRequest { selector: Some(all), consistency: consistency.into(), ..v1::ReadRequest::default() }
}

/// Checks the stored events and the events received by subscribers against the responses recorded by writers.
///
/// # Errors
/// The first difference.
pub fn check(histories: &[History], stored: &[v1::RecordedEvent], seen: &[Observation]) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict { events: stored.len(), subscribers: seen.len(), ..Verdict::default() };
    let by_id = index(stored)?;
    for history in histories {
        if let Some(contradiction) = history.contradictions.first() {
            bail!("contradiction: {contradiction}");
        }
        verdict.retried += history.retried;
        for (why, times) in &history.waits {
            *verdict.waits.entry(why.clone()).or_default() += times;
        }
        verdict.unnamed.extend_from_slice(&history.unnamed);
        let tally = match history.expect {
            Expect::Exact => &mut verdict.exact,
            Expect::Any => &mut verdict.any,
        };
        for record in &history.records {
            let found: Vec<Option<&v1::RecordedEvent>> =
                record.ids.iter().map(|id| by_id.get(id.to_string().as_str()).copied()).collect();
            let there = found.iter().flatten().count();
            ensure!(
                there == 0 || there == found.len(),
                "{}: a batch is stored in part: {:?}",
                record.stream,
                record.ids
            );
            match record.outcome {
                Outcome::Acknowledged { revision, position } => {
                    tally.acknowledged += 1;
                    ensure!(there > 0, "{}: acknowledged at revision {revision}, but not stored", record.stream);
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
                    tally.rejected += 1;
                    ensure!(there == 0, "{}: rejected, but stored: {:?}", record.stream, record.ids);
                }
                Outcome::Unknown => tally.unknown += 1,
            }
        }
    }
    let told: usize = histories.iter().flat_map(|h| &h.records).map(|r| r.ids.len()).sum();
    ensure!(stored.len() <= told, "{} events are stored, but only {told} were sent", stored.len());
    for subscriber in seen {
        verdict.moved += subscriber.moves;
        compare(subscriber, stored)?;
    }
    Ok(verdict)
}

/// Indexes the events by id. Also checks that ids are unique, positions rise, revisions have no gaps, and
/// payloads are intact.
fn index(stored: &[v1::RecordedEvent]) -> anyhow::Result<BTreeMap<&str, &v1::RecordedEvent>> {
    let (mut by_id, mut next, mut last) = (BTreeMap::new(), BTreeMap::<&str, u64>::new(), 0);
    for event in stored {
        ensure!(event.position > last, "position {} after {last}", event.position);
        last = event.position;
        let expected = next.entry(event.stream.as_str()).or_default();
        ensure!(event.revision == *expected, "{}: revision {} instead of {expected}", event.stream, event.revision);
        *expected += 1;
        ensure!(by_id.insert(event.id.as_str(), event).is_none(), "event {} is stored twice", event.id);
        ensure!(event.data.as_ref() == event.id.as_bytes(), "event {} has other bytes than were sent", event.id);
    }
    Ok(by_id)
}

fn compare(seen: &Observation, stored: &[v1::RecordedEvent]) -> anyhow::Result<()> {
    let pod = seen.pod;
    for (n, event) in stored.iter().enumerate() {
        let Some(got) = seen.events.get(n) else {
            bail!("the subscriber of pod {pod} received {} of {} events", seen.events.len(), stored.len());
        };
        let expected = (event.position, &event.stream, event.revision, &event.id);
        ensure!(
            (got.0, &got.1, got.2, &got.3) == expected,
            "the subscriber of pod {pod} received {got:?} instead of {expected:?}"
        );
    }
    ensure!(seen.events.len() == stored.len(), "the subscriber of pod {pod} received an event that is not stored");
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
        let seen = |events: &[v1::RecordedEvent]| Observation {
            pod: 0,
            events: events.iter().map(|e| (e.position, e.stream.clone(), e.revision, e.id.clone())).collect(),
            moves: 0,
        };
        let both = history(&[a, b], acknowledged(0));
        assert_eq!(check(std::slice::from_ref(&both), &stored, &[seen(&stored)]).unwrap().any.acknowledged, 1);
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

    #[test]
    fn an_undisturbed_run_has_every_append_and_every_retry() {
        let good = Verdict {
            exact: Tally { acknowledged: EXACT_MIN, rejected: 3_000 - EXACT_MIN, unknown: 0 },
            any: Tally { acknowledged: 3_000, rejected: 0, unknown: 0 },
            retried: 600,
            subscribers: 3,
            ..Verdict::default()
        };
        good.check_undisturbed(3).unwrap();
        assert!(good.check_undisturbed(5).is_err(), "two pods without a subscriber");
        let starved = Tally { acknowledged: 75, rejected: 2_925, unknown: 0 };
        let unknown = Tally { acknowledged: 2_999, rejected: 0, unknown: 1 };
        for bad in [
            Verdict { exact: starved, ..good.clone() },
            Verdict { any: unknown, ..good.clone() },
            Verdict { retried: 599, ..good.clone() },
            Verdict { moved: 1, ..good.clone() },
        ] {
            assert!(bad.check_undisturbed(3).is_err(), "{bad:?}");
        }
    }
}
