//! Conversion of the findings of a reconcile into the conditions of a status.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Condition, ConditionStatus, ConditionType, MESSAGE_LENGTH_MAX, Polarity, Reason, Subject};

/// Result of a reconcile for a type of condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Type of the condition.
    pub type_: ConditionType,
    /// Status of the condition.
    pub status: ConditionStatus,
    /// Reason for the status.
    pub reason: Reason,
    /// Explanation for a person.
    pub message: String,
}

impl Finding {
    /// Creates a finding with the status `True`.
    pub fn yes(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::True, reason, message: message.into() }
    }

    /// Creates a finding with the status `False`.
    pub fn no(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::False, reason, message: message.into() }
    }

    /// Creates a finding with the status `Unknown`.
    pub fn unknown(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// Creates the finding for a type that a reconcile did not mention: trouble is absent, health is unknown.
    fn unsaid(type_: ConditionType) -> Self {
        match type_.polarity() {
            Polarity::TrueIsNotable => Self::no(type_, Reason::AsExpected, ""),
            Polarity::TrueIsGood => Self::unknown(type_, Reason::NotObserved, "the object was not observed yet"),
        }
    }
}

/// Returns the conditions to write: completes the findings, derives `Stable` and merges the result with the conditions
/// of the old status.
///
/// The result equals `old` exactly when the status needs no write.
pub fn settle(
    subject: Subject,
    findings: Vec<Finding>,
    old: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    merge(old, &complete(subject, findings), generation, now)
}

/// Returns one finding for each type of the kind, in writing order:
/// * the last finding of a type wins;
/// * `Stable` is always derived, never taken from the findings;
/// * a type that the kind does not have is left out.
pub fn complete(subject: Subject, findings: Vec<Finding>) -> Vec<Finding> {
    let mut said: BTreeMap<ConditionType, Finding> = findings.into_iter().map(|f| (f.type_, f)).collect();
    let mut all: Vec<Finding> = subject
        .types()
        .iter()
        .filter(|type_| **type_ != ConditionType::Stable)
        .map(|type_| said.remove(type_).unwrap_or_else(|| Finding::unsaid(*type_)))
        .collect();
    all.push(stable(&all));
    all
}

/// Derives `Stable`. Reason and message come from the first type without a good status, in the order Ready,
/// Reconciling, Stalled, Degraded, Paused; `Unknown` is not a good status.
pub fn stable(findings: &[Finding]) -> Finding {
    use ConditionType::{Degraded, Paused, Ready, Reconciling, Stable, Stalled};
    for type_ in [Ready, Reconciling, Stalled, Degraded, Paused] {
        let good = match type_.polarity() {
            Polarity::TrueIsGood => ConditionStatus::True,
            Polarity::TrueIsNotable => ConditionStatus::False,
        };
        let found = findings.iter().find(|f| f.type_ == type_).cloned().unwrap_or_else(|| Finding::unsaid(type_));
        if found.status != good {
            return Finding::no(Stable, found.reason, found.message);
        }
    }
    Finding::yes(Stable, Reason::AsExpected, "the object matches its spec, and no change is under way")
}

/// Converts the findings into conditions. `lastTransitionTime` is kept unless the status changes. Conditions without a
/// finding disappear, because a server-side apply sends the complete list of its field manager.
pub fn merge(old: &[Condition], findings: &[Finding], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    findings
        .iter()
        .map(|finding| {
            let before = find(old, finding.type_).filter(|c| c.status == finding.status);
            Condition {
                type_: finding.type_.as_str().to_owned(),
                status: finding.status,
                observed_generation: generation,
                last_transition_time: before
                    .map_or_else(|| Time(whole_seconds(now)), |c| c.last_transition_time.clone()),
                reason: finding.reason.as_str().to_owned(),
                message: finding.message.chars().take(MESSAGE_LENGTH_MAX).collect(),
            }
        })
        .collect()
}

/// Returns the findings of an earlier status that still hold when a reconcile failed to observe: `Degraded`, and
/// `Stalled` of the same generation. Without these findings, a failed reconcile would look like a recovery.
pub fn standing(old: &[Condition], generation: Option<i64>) -> Vec<Finding> {
    let holds = |type_| find(old, type_).filter(|condition| condition.status == ConditionStatus::True);
    let degraded = holds(ConditionType::Degraded);
    let stalled = holds(ConditionType::Stalled).filter(|condition| condition.observed_generation == generation);
    let stated = |type_, condition: &Condition| {
        // Another version of the operator may have written a reason that this version does not know.
        let reason = Reason::named(&condition.reason).unwrap_or(Reason::NotObserved);
        Finding::yes(type_, reason, condition.message.clone())
    };
    let degraded = degraded.map(|condition| stated(ConditionType::Degraded, condition));
    let stalled = stalled.map(|condition| stated(ConditionType::Stalled, condition));
    degraded.into_iter().chain(stalled).collect()
}

/// Returns the condition of a type, if the status has the type.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == type_.as_str())
}

/// Truncates a time to whole seconds. The API server stores whole seconds, so a finer value would look like a change.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConditionType as T;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a valid time")
    }

    fn ready() -> Finding {
        Finding::yes(T::Ready, Reason::AsExpected, "")
    }

    #[test]
    fn every_type_is_there_from_the_first_write_on() {
        for subject in [Subject::Cluster, Subject::EventStore] {
            let first = settle(subject, vec![], &[], Some(1), at(5));
            let types: Vec<_> = first.iter().map(|c| c.type_.as_str()).collect();
            let expected: Vec<_> = subject.types().iter().map(|t| t.as_str()).collect();
            assert_eq!(types, expected);
            assert!(first.iter().all(|c| c.observed_generation == Some(1)));
        }
    }

    #[test]
    fn the_same_findings_are_no_change() {
        let findings = || vec![ready(), Finding::yes(T::Reconciling, Reason::Rolling, "main-1")];
        let first = settle(Subject::Cluster, findings(), &[], Some(1), at(5));
        assert_eq!(settle(Subject::Cluster, findings(), &first, Some(1), at(500)), first);
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = settle(Subject::Cluster, vec![ready()], &[], Some(1), at(5));
        let reworded = Finding::yes(T::Ready, Reason::AsExpected, "other words");
        let second = settle(Subject::Cluster, vec![reworded], &first, Some(2), at(9));
        let condition = find(&second, T::Ready).expect("Ready");
        assert_eq!(condition.last_transition_time.0, at(5));
        assert_eq!((condition.observed_generation, condition.message.as_str()), (Some(2), "other words"));

        let lost = Finding::no(T::Ready, Reason::NoQuorum, "1 of 3");
        let third = settle(Subject::Cluster, vec![lost], &second, Some(2), at(12));
        assert_eq!(find(&third, T::Ready).expect("Ready").last_transition_time.0, at(12));
    }

    #[test]
    fn stable_names_the_first_aspect_that_fails() {
        let cases: [(Vec<Finding>, ConditionStatus, Reason); 8] = [
            (vec![], ConditionStatus::False, Reason::NotObserved),
            (vec![ready()], ConditionStatus::True, Reason::AsExpected),
            (vec![Finding::no(T::Ready, Reason::NoLeader, "")], ConditionStatus::False, Reason::NoLeader),
            (
                vec![Finding::unknown(T::Ready, Reason::NodeUnreachable, "")],
                ConditionStatus::False,
                Reason::NodeUnreachable,
            ),
            (
                vec![
                    Finding::yes(T::Paused, Reason::Paused, ""),
                    ready(),
                    Finding::yes(T::Reconciling, Reason::Rolling, ""),
                ],
                ConditionStatus::False,
                Reason::Rolling,
            ),
            (
                vec![
                    ready(),
                    Finding::yes(T::Degraded, Reason::NodeLost, ""),
                    Finding::yes(T::Stalled, Reason::ScaleDownBlocked, ""),
                ],
                ConditionStatus::False,
                Reason::ScaleDownBlocked,
            ),
            (vec![ready(), Finding::yes(T::Degraded, Reason::NodeLost, "")], ConditionStatus::False, Reason::NodeLost),
            (vec![ready(), Finding::yes(T::Paused, Reason::Paused, "")], ConditionStatus::False, Reason::Paused),
        ];
        for (findings, status, reason) in cases {
            let found = stable(&findings);
            assert_eq!((found.status, found.reason), (status, reason), "{findings:?}");
        }
    }

    #[test]
    fn trouble_stands_until_somebody_looks_and_a_need_for_a_person_only_for_its_generation() {
        let findings = vec![
            ready(),
            Finding::yes(T::Degraded, Reason::NodeLost, "main-2"),
            Finding::yes(T::Stalled, Reason::ScaleDownBlocked, "orders"),
        ];
        let old = settle(Subject::Cluster, findings, &[], Some(3), at(5));
        let same = standing(&old, Some(3));
        assert_eq!(
            same.iter().map(|f| (f.type_, f.reason)).collect::<Vec<_>>(),
            [(T::Degraded, Reason::NodeLost), (T::Stalled, Reason::ScaleDownBlocked)]
        );
        assert_eq!(standing(&old, Some(4)).len(), 1);
        assert_eq!(standing(&[], Some(3)), []);
    }

    #[test]
    fn a_stated_stable_is_ignored() {
        let stated = Finding::yes(T::Stable, Reason::AsExpected, "");
        let all = complete(Subject::EventStore, vec![stated]);
        assert_eq!(all.last().map(|f| f.status), Some(ConditionStatus::False));
    }

    #[test]
    fn types_of_the_other_kind_are_left_out() {
        let all = complete(Subject::EventStore, vec![Finding::yes(T::CoordinatorAvailable, Reason::AsExpected, "")]);
        assert!(all.iter().all(|f| f.type_ != T::CoordinatorAvailable));
    }

    #[test]
    fn long_messages_are_cut_and_times_are_whole_seconds() {
        let long = Finding::no(T::Ready, Reason::CrashLooping, "é".repeat(9000));
        let now = Timestamp::new(7, 900_000_000).expect("a valid time");
        let written = merge(&[], &[long], None, now);
        assert_eq!(written[0].message.chars().count(), MESSAGE_LENGTH_MAX);
        assert_eq!(written[0].last_transition_time.0, at(7));
    }
}
