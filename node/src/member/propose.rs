//! Every command for the catalogue goes into the system group's log here, whoever wants it: the coordinator's plan, the
//! operator, a node that joins.

use super::member::Member;
use std::time::Duration;
use taffrail_core::{
    catalogue::{Catalogue, CatalogueOutcome, Command, Kind, RULES_IN_FORCE, apply},
    ids::GroupId,
};
use taffrail_proto::peer::FrameKind;
use taffrail_raft::{
    peer::{CallError, Request},
    status::ProposeError,
    types::Reply,
};
use taffrail_runtime as rt;
use taffrail_runtime::failpoint;
use taffrail_storage::catalogue::codec;
use tokio::time::Instant;

/// Why a command for the catalogue has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Nobody coordinates, or not reachable; not proposed.
    #[error("there is no coordinator: {0}")]
    NoCoordinator(String),
    /// Proposed, perhaps.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

fn now(kind: Kind) -> Command {
    Command { rules: RULES_IN_FORCE, stamp_us: rt::now_us(), kind }
}

/// How long to look whether a command is needed. A command too many is better than none.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Until when to look, so that most of the time is left for the proposal.
fn look_until(now: Instant, deadline: Instant) -> Instant {
    now + LOOK_MAX.min(deadline.saturating_duration_since(now) / 3)
}

/// The outcome of a command that would leave the catalogue unchanged; `None` if the command would change it.
fn dry_run(catalogue: &Catalogue, kind: &Kind) -> Option<CatalogueOutcome> {
    let mut copy = catalogue.clone();
    let (outcome, _) = apply(&mut copy, &now(kind.clone())).ok()?;
    // What every command leaves behind is no change.
    (copy.version, copy.clock_us, copy.digest) = (catalogue.version, catalogue.clock_us, catalogue.digest);
    (copy == *catalogue).then_some(outcome)
}

impl Member {
    /// Proposes a command for the catalogue, here or one hop away, and tries again while nothing can have been proposed.
    ///
    /// # Errors
    /// When there was no coordinator until the deadline, or the outcome is unknown.
    pub async fn propose(&self, kind: Kind, deadline: Instant) -> Result<CatalogueOutcome, CatalogueError> {
        loop {
            let why = match self.try_propose(&kind, deadline).await {
                Err(CatalogueError::NoCoordinator(why)) => why,
                answer => return answer,
            };
            if Instant::now() >= deadline {
                return Err(CatalogueError::NoCoordinator(why));
            }
            let pause = Duration::from_millis(20) + rt::jitter(Duration::from_millis(60));
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
    }

    /// As `propose`, for what is asked again and again until it is done: a command that would change nothing is answered
    /// from a confirmed catalogue and not written. It looks at a copy of the whole catalogue, so it is not for bulk.
    ///
    /// # Errors
    /// As `propose`.
    pub async fn propose_if_needed(&self, kind: Kind, deadline: Instant) -> Result<CatalogueOutcome, CatalogueError> {
        if self.system.read_index(look_until(Instant::now(), deadline)).await.is_ok()
            && let Some(outcome) = dry_run(&self.applied(), &kind)
        {
            return Ok(outcome);
        }
        self.propose(kind, deadline).await
    }

    /// Proposes here, if this node coordinates.
    ///
    /// # Errors
    /// `NoCoordinator` when it does not.
    pub async fn propose_here(&self, kind: Kind, deadline: Instant) -> Result<CatalogueOutcome, CatalogueError> {
        let elsewhere = || CatalogueError::NoCoordinator("this node does not coordinate".into());
        if !self.system.leads() {
            return Err(elsewhere());
        }
        let name = kind.name();
        failpoint::reach(format_args!("catalogue-{name}-write"));
        match self.system.propose(codec::encode_command(&now(kind)), deadline).await {
            Ok(Reply::Catalogue(outcome)) => {
                failpoint::reach(format_args!("catalogue-{name}-written"));
                Ok(outcome)
            }
            Ok(reply) => Err(CatalogueError::Unknown(format!("unexpected reply {reply}"))),
            Err(ProposeError::NotLeader(_)) => Err(elsewhere()),
            Err(ProposeError::Unknown(why)) => Err(CatalogueError::Unknown(why.into())),
            Err(e @ (ProposeError::Stopped(_) | ProposeError::Refused(_))) => {
                Err(CatalogueError::NoCoordinator(e.to_string()))
            }
        }
    }

    async fn try_propose(&self, kind: &Kind, deadline: Instant) -> Result<CatalogueOutcome, CatalogueError> {
        if self.system.leads() {
            return self.propose_here(kind.clone(), deadline).await;
        }
        let leader = self.system.leader().filter(|l| l.node != self.node());
        let leader = leader.ok_or_else(|| CatalogueError::NoCoordinator("none is known".into()))?;
        let request = Request {
            kind: FrameKind::Propose,
            group: GroupId::SYSTEM,
            from_replica: self.system.key().replica,
            to_replica: leader.replica,
            payload: codec::encode_command(&now(kind.clone())),
        };
        let ttl = deadline.saturating_duration_since(Instant::now());
        match self.parts.home.transport.call(leader.node, request, ttl).await {
            Ok(answer) => codec::decode_outcome(answer).map_err(|e| CatalogueError::Unknown(e.to_string())),
            Err(e @ (CallError::Unreachable(_) | CallError::Refused(_))) => {
                Err(CatalogueError::NoCoordinator(e.to_string()))
            }
            Err(CallError::NoAnswer(why)) => Err(CatalogueError::Unknown(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::{
        catalogue::{CloseMode, Declaration, NodeState, Refused, Registration},
        ids::{ClusterId, DiskId, NodeId, StoreId},
        names::StoreName,
    };
    use uuid::Uuid;

    fn declared(name: &str) -> Kind {
        Kind::Declare(Declaration {
            name: StoreName::new("default", name).unwrap(),
            replicas: 1,
            adopt: None,
            minted: StoreId::new(Uuid::from_u128(5)),
            declared_by: String::new(),
        })
    }

    #[test]
    fn commands_are_proposed_under_the_rules_in_force_not_the_newest_known() {
        // The number itself: no command raises it yet, so a member of the first version must understand all of them.
        assert_eq!(now(Kind::StoreGone(StoreId::new(Uuid::from_u128(1)))).rules, 1);
    }

    #[test]
    fn the_look_leaves_most_of_the_time_to_the_proposal() {
        let now = Instant::now();
        let s = Duration::from_secs;
        for (left, looks) in [(s(60), LOOK_MAX), (s(10), s(1)), (s(1), s(1) / 3), (s(0), s(0))] {
            assert_eq!(look_until(now, now + left) - now, looks);
        }
        assert_eq!(look_until(now + s(1), now), now + s(1), "too late already");
    }

    #[test]
    fn a_dry_run_answers_only_commands_that_change_nothing() {
        let mut catalogue = Catalogue::default();
        let disk = |n: u128| Registration {
            disk: DiskId::new(Uuid::from_u128(n)),
            name: format!("n{n}"),
            address: String::new(),
            version: String::new(),
        };
        let mut run = |kind| apply(&mut catalogue, &now(kind)).unwrap();
        run(Kind::Init { cluster: ClusterId::new(Uuid::from_u128(9)), first: disk(1) });
        run(Kind::Register(disk(2)));
        let two = NodeId::new(2);
        let drain = Kind::Drain(two);
        assert_eq!(dry_run(&catalogue, &Kind::Register(disk(2))), Some(CatalogueOutcome::Node(two)));
        assert_eq!(dry_run(&catalogue, &Kind::Register(disk(3))), None);
        assert_eq!(dry_run(&catalogue, &drain), None);
        assert_eq!(catalogue.nodes[&two].state, NodeState::Member, "looking changes nothing");
        apply(&mut catalogue, &now(drain.clone())).unwrap();
        assert_eq!(dry_run(&catalogue, &drain), Some(CatalogueOutcome::Done));
        let unknown = NodeId::new(7);
        let refused = CatalogueOutcome::Refused(Refused::BadNode(unknown));
        assert_eq!(dry_run(&catalogue, &Kind::Drain(unknown)), Some(refused));
        let grant = Kind::AcquireGrant { node: two, holder: "o".into(), ttl_us: 1_000_000 };
        assert_eq!(dry_run(&catalogue, &grant), None, "a grant touches no row but the header");
        apply(&mut catalogue, &now(declared("orders"))).unwrap();
        let id = catalogue.stores.keys().next().copied().unwrap();
        let close = Kind::Close { store: id, mode: CloseMode::Delete, declared_by: String::new() };
        assert_eq!(dry_run(&catalogue, &close), None);
        apply(&mut catalogue, &now(close.clone())).unwrap();
        assert_eq!(dry_run(&catalogue, &close), Some(CatalogueOutcome::Done));
    }
}
