//! [`Problem`], a domain error as a gRPC status with code, stable reason and details. Only this file maps domain errors
//! to reasons. [`proof`] evaluates the status of a peer.

use super::encode;
use std::{fmt, time::Duration};
use taffrail_core::{
    append::{Rejected, Tail},
    catalogue::Refused,
    names::NameError,
};
pub(crate) use taffrail_proto::reason::Reason;
use taffrail_proto::{error_detail, reason::DOMAIN, v1};
use taffrail_store_api::{AppendError, ReadError, ResolveError, StorageLow, StoreChangeError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Delay before the retry of an append that a nearly full disk refused: room takes a while.
const STORAGE_LOW_RETRY: Duration = Duration::from_secs(5);

/// An error with a stable reason, convertible to a gRPC status.
#[derive(Debug)]
pub(crate) struct Problem {
    reason: Reason,
    message: String,
    details: Vec<(&'static str, String)>,
    /// The typed detail; in a box, because errors are returned by value.
    typed: Box<v1::ErrorDetail>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// Creates a problem without details. Temporary reasons get a delay for the retry.
    #[must_use]
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        let later = reason.code() == Code::Unavailable || reason == Reason::Overloaded;
        let retry_after = if reason == Reason::StorageLow {
            Some(STORAGE_LOW_RETRY)
        } else {
            later.then_some(Duration::from_millis(200))
        };
        let typed = Box::new(v1::ErrorDetail { reason: reason.to_proto().into(), ..v1::ErrorDetail::default() });
        Self { reason, message: message.into(), details: Vec::new(), typed, retry_after }
    }
    /// Creates the `INVALID_ARGUMENT` for a field and the broken rule.
    #[must_use]
    pub(crate) fn field(field: &'static str, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        Self::new(Reason::InvalidArgument, format!("{field}: {rule}")).with("field", field).with("rule", rule)
    }
    /// Adds a detail to the metadata of the status.
    #[must_use]
    pub(crate) fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.details.push((key, value.to_string()));
        self
    }
    /// Adds the leader, unless a leader of a later term is added already.
    #[must_use]
    pub(crate) fn with_leader(mut self, leader: Option<v1::LeaderHint>) -> Self {
        let newer = |new: &v1::LeaderHint| self.typed.leader.as_ref().is_none_or(|old| old.term <= new.term);
        if leader.as_ref().is_some_and(newer) {
            self.typed.leader = leader;
        }
        self
    }
    #[must_use]
    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<NameError> for Problem {
    fn from(e: NameError) -> Self {
        Self::field(e.field, e.rule)
    }
}

impl From<Problem> for Status {
    fn from(p: Problem) -> Self {
        #[expect(
            clippy::disallowed_types,
            reason = "the type that tonic takes; the order of the details has no meaning"
        )]
        let mut metadata: std::collections::HashMap<String, String> =
            p.details.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        if p.reason.code() == Code::Unavailable {
            metadata.entry("proposed".into()).or_insert_with(|| "false".into());
        }
        if let Some(leader) = &p.typed.leader {
            metadata.insert("leader_node_id".into(), leader.node_id.to_string());
            metadata.extend(leader.term.map(|term| ("leader_term".into(), term.to_string())));
            if !leader.client_address.is_empty() {
                metadata.insert("leader_client_address".into(), leader.client_address.clone());
            }
        }
        let mut details = ErrorDetails::with_error_info(p.reason.as_str(), DOMAIN, metadata);
        if let Some(after) = p.retry_after {
            details.set_retry_info(Some(after));
        }
        let status = Self::with_error_details(p.reason.code(), p.message, details);
        Self::with_details(status.code(), status.message(), error_detail::attach(status.details(), &p.typed))
    }
}

impl From<AppendError> for Problem {
    fn from(e: AppendError) -> Self {
        let message = e.to_string();
        match e {
            AppendError::Rejected(rejected) => rejected.into(),
            AppendError::NotLeader(Some(hint)) => {
                Self::new(Reason::NotLeader, message).with_leader(Some(encode::leader(hint, None)))
            }
            AppendError::NotLeader(None) => Self::new(Reason::NoLeader, "the store has no leader"),
            AppendError::Overloaded => Self::new(Reason::Overloaded, message),
            AppendError::StorageLow(low) => {
                let problem = Self::new(Reason::StorageLow, message);
                match low {
                    StorageLow::Leader { free_bytes, needed_bytes } => problem
                        .with("rule", "the leader's node needs free space above disk.soft_free_mib")
                        .with("free_bytes", free_bytes)
                        .with("needed_bytes", needed_bytes),
                    StorageLow::Voters => {
                        problem.with("rule", "a majority of the voters needs free space above disk.hard_free_mib")
                    }
                }
            }
            AppendError::DeadlineBeforeProposal => Self::new(Reason::Deadline, message),
            AppendError::Unknown(_) => Self::new(Reason::OutcomeUnknown, message).with("proposed", "unknown"),
            AppendError::NotServing(_) => Self::new(Reason::NotServing, message),
        }
    }
}

impl From<Rejected> for Problem {
    fn from(e: Rejected) -> Self {
        let message = e.to_string();
        match e {
            Rejected::WrongRevision { stream, expected, actual } => {
                let actual_text = match actual {
                    Tail::Empty => "absent".to_owned(),
                    Tail::At(revision) => revision.to_string(),
                };
                let typed = encode::wrong_revision(&stream, expected, actual);
                let mut problem = Self::new(Reason::WrongRevision, message)
                    .with("stream", stream)
                    .with("expected", expected)
                    .with("actual", actual_text);
                problem.typed.wrong_revision = Some(typed);
                problem
            }
            Rejected::StreamFull { stream } => Self::new(Reason::StreamFull, message).with("stream", stream),
            Rejected::IdReused { stream, id } => {
                Self::new(Reason::EventIdReused, message).with("stream", stream).with("id", id)
            }
            Rejected::Closed => Self::new(Reason::StoreClosed, message),
            Rejected::UpgradePending { .. } => Self::new(Reason::UpgradePending, message),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(e: ReadError) -> Self {
        let message = e.to_string();
        match e {
            ReadError::StreamNotFound(stream) => Self::new(Reason::StreamNotFound, message).with("stream", stream),
            ReadError::NoReadIndex(_) => Self::new(Reason::NoQuorum, message),
            ReadError::Deadline => Self::new(Reason::Deadline, message),
            ReadError::PositionAhead { position, last } => {
                Self::new(Reason::PositionAhead, message).with("position", position).with("last_position", last)
            }
            ReadError::NotServing(_) => Self::new(Reason::NotServing, message),
            ReadError::Corrupt(_) => Self::new(Reason::DataCorrupt, message),
            ReadError::Storage(_) => Self::new(Reason::Storage, message),
        }
    }
}

impl From<ResolveError> for Problem {
    fn from(e: ResolveError) -> Self {
        let message = e.to_string();
        match e {
            ResolveError::NotFound { wanted, nearest } => {
                let nearest: Vec<String> = nearest.iter().map(ToString::to_string).collect();
                Self::new(Reason::StoreNotFound, message).with("store", wanted).with("nearest", nearest.join(","))
            }
            ResolveError::Retained(store) => Self::new(Reason::StoreRetained, message).with("store", store),
            ResolveError::Removing(store) => Self::new(Reason::StoreRemoving, message).with("store", store),
            ResolveError::Unconfirmed(_) => Self::new(Reason::NoQuorum, message),
            ResolveError::NotServing(_) => Self::new(Reason::NotServing, message),
        }
    }
}

impl From<StoreChangeError> for Problem {
    fn from(e: StoreChangeError) -> Self {
        let message = e.to_string();
        match e {
            StoreChangeError::Refused(why) => why.into(),
            StoreChangeError::NoCoordinator(_) => Self::new(Reason::NoQuorum, message),
            StoreChangeError::Unknown(_) => Self::new(Reason::OutcomeUnknown, message).with("proposed", "unknown"),
            StoreChangeError::NotServing(_) => Self::new(Reason::NotServing, message),
        }
    }
}

impl From<Refused> for Problem {
    fn from(e: Refused) -> Self {
        let message = e.to_string();
        match e {
            Refused::InvalidReplicas(_) => Self::field("replicas", "must be 1, 3, 5 or 7"),
            Refused::NotEnoughNodes { wanted, have } => {
                Self::new(Reason::NotEnoughNodes, message).with("wanted", wanted).with("have", have)
            }
            Refused::RetainedDataExists { id, .. } => Self::new(Reason::StoreRetained, message).with("store_id", id),
            Refused::StoreRemoving(id) => Self::new(Reason::StoreRemoving, message).with("store_id", id),
            Refused::StoreNotFound(id) => {
                Self::new(Reason::StoreNotFound, format!("no store has the id {id}")).with("store_id", id)
            }
            Refused::StoreExists { id, replicas } => {
                Self::new(Reason::StoreExists, message).with("store_id", id).with("replicas", replicas)
            }
            Refused::Declared { id, by } => {
                Self::new(Reason::StoreDeclared, message).with("store_id", id).with("declared_by", by)
            }
            Refused::NameTaken { by } => Self::new(Reason::StoreDeclared, message).with("declared_by", by),
            Refused::UpgradePending { rules, in_force } => {
                Self::new(Reason::UpgradePending, message).with("rules", rules).with("in_force", in_force)
            }
            // Refusals of commands that no client sends.
            Refused::WrongCluster
            | Refused::BadNode(_)
            | Refused::BadReplica(_)
            | Refused::StillNamed(_)
            | Refused::GrantHeld { .. } => Self::new(Reason::NotServing, message),
        }
    }
}

/// Conclusion from the error of a peer about a forwarded append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The peer did not propose the append; another attempt is safe.
    NotProposed,
    /// The outcome of the append is known.
    Final,
    /// The peer may have proposed the append.
    Unknown,
}

/// Evaluates the status of a peer. Only a reason of the gateway, or an unsent request, is a proof.
#[must_use]
pub(crate) fn proof(status: &Status) -> Proof {
    if taffrail_client::never_sent(status) {
        return Proof::NotProposed;
    }
    let Some(info) = status.get_details_error_info().filter(|i| i.domain == DOMAIN) else { return Proof::Unknown };
    match Reason::ALL.iter().find(|r| r.as_str() == info.reason) {
        Some(Reason::NotLeader | Reason::NoLeader | Reason::NotServing | Reason::ShuttingDown | Reason::NoQuorum) => {
            Proof::NotProposed
        }
        Some(Reason::OutcomeUnknown) | None => Proof::Unknown,
        Some(_) => Proof::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::{
        append::ExpectedRevision,
        ids::{EventId, NodeId, Position, ReplicaId, Revision, StoreId},
        names::{StoreName, StreamName},
    };
    use taffrail_store_api::LeaderHint;

    #[test]
    fn every_error_has_a_reason_of_the_table() {
        let stream = StreamName::new("s").unwrap();
        let store = StoreName::new("default", "orders").unwrap();
        let hint = LeaderHint { node: NodeId::new(2), replica: ReplicaId::new(9), term: 3 };
        let wrong = Rejected::WrongRevision {
            stream: stream.clone(),
            expected: ExpectedRevision::NoStream,
            actual: Tail::Empty,
        };
        let id = EventId::new(uuid::Uuid::nil());
        let at = Position::default();
        let store_id = StoreId::new(uuid::Uuid::from_u128(7));
        let problems: Vec<(Problem, Code)> = vec![
            (AppendError::Rejected(wrong).into(), Code::FailedPrecondition),
            (Rejected::StreamFull { stream: stream.clone() }.into(), Code::ResourceExhausted),
            (Rejected::IdReused { stream: stream.clone(), id }.into(), Code::AlreadyExists),
            (Rejected::Closed.into(), Code::FailedPrecondition),
            (Rejected::UpgradePending { rules: 2, in_force: 1 }.into(), Code::Unavailable),
            (AppendError::NotLeader(Some(hint)).into(), Code::Unavailable),
            (AppendError::NotLeader(None).into(), Code::Unavailable),
            (AppendError::Overloaded.into(), Code::ResourceExhausted),
            (AppendError::StorageLow(StorageLow::Voters).into(), Code::ResourceExhausted),
            (AppendError::DeadlineBeforeProposal.into(), Code::DeadlineExceeded),
            (AppendError::Unknown("x").into(), Code::Unknown),
            (AppendError::NotServing("x".into()).into(), Code::Unavailable),
            (ReadError::StreamNotFound(stream).into(), Code::NotFound),
            (ReadError::NoReadIndex("x").into(), Code::Unavailable),
            (ReadError::Deadline.into(), Code::DeadlineExceeded),
            (ReadError::PositionAhead { position: at, last: at }.into(), Code::OutOfRange),
            (ReadError::NotServing("x".into()).into(), Code::Unavailable),
            (ReadError::Corrupt("x".into()).into(), Code::DataLoss),
            (ReadError::Storage("x".into()).into(), Code::Internal),
            (ResolveError::NotFound { wanted: store.clone(), nearest: vec![] }.into(), Code::NotFound),
            (ResolveError::Retained(store.clone()).into(), Code::FailedPrecondition),
            (ResolveError::Removing(store).into(), Code::FailedPrecondition),
            (ResolveError::Unconfirmed("x").into(), Code::Unavailable),
            (ResolveError::NotServing("x".into()).into(), Code::Unavailable),
            (StoreChangeError::NoCoordinator("x".into()).into(), Code::Unavailable),
            (StoreChangeError::Unknown("x".into()).into(), Code::Unknown),
            (StoreChangeError::NotServing("x".into()).into(), Code::Unavailable),
            (Refused::InvalidReplicas(2).into(), Code::InvalidArgument),
            (Refused::NotEnoughNodes { wanted: 3, have: 1 }.into(), Code::FailedPrecondition),
            (Refused::RetainedDataExists { id: store_id, at_us: 1 }.into(), Code::FailedPrecondition),
            (Refused::StoreRemoving(store_id).into(), Code::FailedPrecondition),
            (Refused::StoreNotFound(store_id).into(), Code::NotFound),
            (Refused::StoreExists { id: store_id, replicas: 3 }.into(), Code::AlreadyExists),
            (Refused::Declared { id: store_id, by: "uid".into() }.into(), Code::FailedPrecondition),
        ];
        for (problem, code) in problems {
            let reason = problem.reason();
            let status: Status = problem.into();
            assert_eq!(status.code(), code, "{reason:?}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!((info.domain.as_str(), info.reason.as_str()), (DOMAIN, reason.as_str()));
            let typed = error_detail::find(status.details()).unwrap();
            assert_eq!(typed.reason(), reason.to_proto());
            if code == Code::Unavailable {
                assert!(info.metadata.contains_key("proposed"));
                assert!(status.get_details_retry_info().is_some());
            }
        }
    }

    fn typed(problem: Problem) -> (Status, v1::ErrorDetail) {
        let status = Status::from(problem);
        let typed = error_detail::find(status.details()).unwrap();
        (status, typed)
    }

    #[test]
    fn a_wrong_revision_is_typed_and_readable() {
        use v1::{actual_revision::Kind as Actual, expected_revision::Kind as Expected};
        let wrong =
            |expected, actual| Rejected::WrongRevision { stream: StreamName::new("s").unwrap(), expected, actual };
        let at = |r| Revision::new(r).unwrap();
        let cases = [
            (
                wrong(ExpectedRevision::StreamExists, Tail::Empty),
                (Expected::StreamExists(v1::Unit {}), Actual::Absent(v1::Unit {}), "absent"),
            ),
            (wrong(ExpectedRevision::Exact(at(3)), Tail::At(at(7))), (Expected::Exact(3), Actual::At(7), "7")),
        ];
        for (rejected, (expected, actual, text)) in cases {
            let (status, typed) = typed(rejected.into());
            let wrong = typed.wrong_revision.unwrap();
            assert_eq!(wrong.expected.unwrap().kind, Some(expected));
            assert_eq!(wrong.actual.unwrap().kind, Some(actual));
            assert_eq!(status.get_details_error_info().unwrap().metadata["actual"], text);
        }
    }

    #[test]
    fn the_newest_leader_is_named_with_term_and_address() {
        let hint = |node: u64, term: u64| {
            let hint = LeaderHint { node: NodeId::new(node), replica: ReplicaId::new(9), term };
            Some(encode::leader(hint, Some(format!("n{node}:2113"))))
        };
        let problem = Problem::new(Reason::NoLeader, "m").with_leader(hint(2, 5)).with_leader(hint(3, 4));
        let (status, typed) = typed(problem.with_leader(None));
        let leader = typed.leader.unwrap();
        assert_eq!((leader.node_id, leader.term, leader.client_address.as_str()), (2, Some(5), "n2:2113"));
        let info = status.get_details_error_info().unwrap();
        let text = ["leader_node_id", "leader_term", "leader_client_address"].map(|key| info.metadata[key].as_str());
        assert_eq!(text, ["2", "5", "n2:2113"]);
        let (_, newer) =
            self::typed(Problem::new(Reason::NoLeader, "m").with_leader(hint(3, 4)).with_leader(hint(2, 5)));
        assert_eq!(newer.leader.unwrap().node_id, 2);
    }

    #[test]
    fn only_our_own_word_proves_that_nothing_was_proposed() {
        let not_leader: Status = Problem::from(AppendError::NotLeader(None)).into();
        assert_eq!(proof(&not_leader), Proof::NotProposed);
        let unknown: Status = Problem::from(AppendError::Unknown("x")).into();
        assert_eq!(proof(&unknown), Proof::Unknown);
        assert_eq!(proof(&Status::unavailable("connection reset")), Proof::Unknown);
        let closed: Status = Problem::from(Rejected::Closed).into();
        assert_eq!(proof(&closed), Proof::Final);
    }
}
