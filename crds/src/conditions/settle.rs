//! From what a pass found to what the status says.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Condition, ConditionStatus, ConditionType, MESSAGE_LENGTH_MAX, Polarity, Reason, Subject};

/// What one pass of the operator found about one aspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The aspect.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, from the documented list.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
}

impl Finding {
    /// It holds.
    pub fn yes(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::True, reason, message: message.into() }
    }

    /// It does not hold.
    pub fn no(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::False, reason, message: message.into() }
    }

    /// It could not be found out.
    pub fn unknown(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// What holds when a pass says nothing about a type: trouble is absent, health is unknown.
    fn unsaid(type_: ConditionType) -> Self {
        match type_.polarity() {
            Polarity::TrueIsNotable => Self::no(type_, Reason::AsExpected, ""),
            Polarity::TrueIsGood => Self::unknown(type_, Reason::NotObserved, "not observed yet"),
        }
    }
}

/// The whole way: completes the findings, derives `Stable` and merges with what the status said before.
///
/// The result equals `old` exactly when there is nothing to write.
pub fn settle(
    subject: Subject,
    findings: Vec<Finding>,
    old: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    merge(old, &complete(subject, findings), generation, now)
}

/// One finding for each type of the kind, in writing order. The last finding of a type wins; `Stable` is always derived;
/// a type that the kind does not show is left out.
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

/// Derives `Stable`. Its reason and message are those of the first aspect that fails, in the order Ready, Reconciling,
/// Stalled, Degraded, Paused; unknown counts as failing.
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
    Finding::yes(Stable, Reason::AsExpected, "as asked for, and nothing is changing")
}

/// The conditions to write. `lastTransitionTime` is kept unless the status flips; conditions that are not among the
/// findings disappear, because a server-side apply sends the full set of its own.
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

/// What an earlier status said that still holds when a pass could not look: that copies are missing and, for the same
/// generation, that a person is needed. Without it, a failed pass would read as a recovery.
pub fn standing(old: &[Condition], generation: Option<i64>) -> Vec<Finding> {
    let holds = |type_| find(old, type_).filter(|condition| condition.status == ConditionStatus::True);
    let degraded = holds(ConditionType::Degraded);
    let stalled = holds(ConditionType::Stalled).filter(|condition| condition.observed_generation == generation);
    let stated = |type_, condition: &Condition| {
        // Another version of the operator may have had a reason that this one does not know.
        let reason = Reason::named(&condition.reason).unwrap_or(Reason::NotObserved);
        Finding::yes(type_, reason, condition.message.clone())
    };
    let degraded = degraded.map(|condition| stated(ConditionType::Degraded, condition));
    let stalled = stalled.map(|condition| stated(ConditionType::Stalled, condition));
    degraded.into_iter().chain(stalled).collect()
}

/// The condition of a type, if the status has it.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == type_.as_str())
}

/// The time as the API server will give it back: it keeps whole seconds, and a finer value would look like a change.
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
