//! Proposals of commands for the catalogue. All commands enter the log of the system group through this module:
//! commands of the coordinator's plan, of the operator, and of joining nodes.

use super::member::Member;
use std::time::Duration;
use taffrail_core::{
    catalogue::{Catalogue, CatalogueOutcome, Command, Kind, RULES, apply},
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

/// The reason why a command for the catalogue has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// No coordinator is known or reachable. The command was not proposed.
    #[error("there is no coordinator: {0}")]
    NoCoordinator(String),
    /// The command may have been proposed.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// Creates a command under the rules in force, which every member knows, but never under rules unknown to this version.
fn now(catalogue: &Catalogue, kind: Kind) -> Command {
    Command { rules: catalogue.rules.catalogue.min(RULES), stamp_us: rt::now_us(), kind }
}

/// Time limit for the check whether a command is needed. An unnecessary command is better than a missing command.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Returns the end of the check: at most a third of the time until the deadline, so that most of the time is left
/// for the proposal.
fn look_until(now: Instant, deadline: Instant) -> Instant {
    now + LOOK_MAX.min(deadline.saturating_duration_since(now) / 3)
}

/// Returns the outcome of a command that would leave the catalogue unchanged; `None` for a command that would
/// change the catalogue.
fn dry_run(catalogue: &Catalogue, kind: &Kind) -> Option<CatalogueOutcome> {
    let mut copy = catalogue.clone();
    let (outcome, _) = apply(&mut copy, &now(catalogue, kind.clone())).ok()?;
    // Version, clock and digest change with every command, so these fields are not compared.
    (copy.version, copy.clock_us, copy.digest) = (catalogue.version, catalogue.clock_us, catalogue.digest);
    (copy == *catalogue).then_some(outcome)
}

impl Member {
    /// Proposes a command for the catalogue, on this node or on the coordinator, and retries while no attempt can have
    /// proposed the command.
    ///
    /// # Errors
    /// No coordinator was found until the deadline, or the outcome is unknown.
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

    /// Same as [`Member::propose`], for commands that a caller repeats until the outcome is as desired. A command that
    /// would change nothing is answered from a confirmed catalogue and not proposed. The check copies the whole
    /// catalogue, so the method is not suitable for many commands at a time.
    ///
    /// # Errors
    /// Same as [`Member::propose`].
    pub async fn propose_if_needed(&self, kind: Kind, deadline: Instant) -> Result<CatalogueOutcome, CatalogueError> {
        if self.system.read_index(look_until(Instant::now(), deadline)).await.is_ok()
            && let Some(outcome) = dry_run(&self.applied(), &kind)
        {
            return Ok(outcome);
        }
        self.propose(kind, deadline).await
    }

    /// Proposes a command in a single attempt, if this node leads the system group.
    ///
    /// # Errors
    /// - [`CatalogueError::NoCoordinator`]: the command was not proposed, for example because this node does not lead.
    /// - [`CatalogueError::Unknown`]: the command may have been proposed.
    pub async fn propose_here(&self, kind: Kind, deadline: Instant) -> Result<CatalogueOutcome, CatalogueError> {
        let elsewhere = || CatalogueError::NoCoordinator("this node does not lead the system group".into());
        if !self.system.leads() {
            return Err(elsewhere());
        }
        let name = kind.name();
        failpoint::reach(format_args!("catalogue-{name}-write"));
        match self.system.propose(codec::encode_command(&now(&self.applied(), kind)), deadline).await {
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
        let leader = leader
            .ok_or_else(|| CatalogueError::NoCoordinator("the leader of the system group is not known".into()))?;
        let request = Request {
            kind: FrameKind::Propose,
            group: GroupId::SYSTEM,
            from_replica: self.system.key().replica,
            to_replica: leader.replica,
            payload: codec::encode_command(&now(&self.applied(), kind.clone())),
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
        catalogue::{CloseMode, Declaration, NodeState, Refused, Registration, Rules},
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
        let rules = |in_force| {
            let catalogue = Catalogue { rules: Rules { catalogue: in_force, stores: 1 }, ..Catalogue::default() };
            now(&catalogue, Kind::StoreGone(StoreId::new(Uuid::from_u128(1)))).rules
        };
        // Compared with the number itself: members of the first version must understand all commands of a new cluster.
        assert_eq!(rules(Rules::FIRST.catalogue), 1);
        assert_eq!(rules(RULES + 1), RULES, "never rules unknown to this version");
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
        let run = |catalogue: &mut Catalogue, kind| {
            let command = now(catalogue, kind);
            apply(catalogue, &command).unwrap()
        };
        run(&mut catalogue, Kind::Init { cluster: ClusterId::new(Uuid::from_u128(9)), first: disk(1) });
        run(&mut catalogue, Kind::Register(disk(2)));
        let two = NodeId::new(2);
        let drain = Kind::Drain(two);
        assert_eq!(dry_run(&catalogue, &Kind::Register(disk(2))), Some(CatalogueOutcome::Node(two)));
        assert_eq!(dry_run(&catalogue, &Kind::Register(disk(3))), None);
        assert_eq!(dry_run(&catalogue, &drain), None);
        assert_eq!(catalogue.nodes[&two].state, NodeState::Member, "looking changes nothing");
        run(&mut catalogue, drain.clone());
        assert_eq!(dry_run(&catalogue, &drain), Some(CatalogueOutcome::Done));
        let unknown = NodeId::new(7);
        let refused = CatalogueOutcome::Refused(Refused::BadNode(unknown));
        assert_eq!(dry_run(&catalogue, &Kind::Drain(unknown)), Some(refused));
        let grant = Kind::AcquireGrant { node: two, holder: "o".into(), ttl_us: 1_000_000 };
        assert_eq!(dry_run(&catalogue, &grant), None, "a grant touches no row but the header");
        run(&mut catalogue, declared("orders"));
        let id = catalogue.stores.keys().next().copied().unwrap();
        let close = Kind::Close { store: id, mode: CloseMode::Delete, declared_by: String::new() };
        assert_eq!(dry_run(&catalogue, &close), None);
        run(&mut catalogue, close.clone());
        assert_eq!(dry_run(&catalogue, &close), Some(CatalogueOutcome::Done));
    }
}
