//! What was asked for and what was refused, on the wire.

use crate::member::{member::Member, propose::CatalogueError};
use std::time::Duration;
use taffrail_core::{
    catalogue::{CatalogueOutcome, Kind, Refused},
    ids::NodeId,
};
use tokio::time::Instant;
use tonic::Status;

/// How long the coordinator works on a call.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn uuid(field: &'static str, text: &str) -> Result<uuid::Uuid, Status> {
    uuid::Uuid::parse_str(text).map_err(|_| Status::invalid_argument(format!("{field}: must be a UUID, is {text:?}")))
}

pub(super) fn node(id: u64) -> Result<NodeId, Status> {
    if id == 0 { Err(Status::invalid_argument("node_id: must not be 0")) } else { Ok(NodeId::new(id)) }
}

fn catalogue(e: CatalogueError) -> Status {
    match e {
        CatalogueError::NoCoordinator(_) => Status::unavailable(e.to_string()),
        CatalogueError::Unknown(_) => Status::unknown(e.to_string()),
    }
}

pub(super) fn refused(why: &Refused) -> Status {
    Status::failed_precondition(why.to_string())
}

/// Writes a command, and lets the coordinator look at what it changed.
pub(super) async fn propose(member: &Member, kind: Kind) -> Result<CatalogueOutcome, Status> {
    let outcome = member.propose(kind, Instant::now() + TIMEOUT).await.map_err(catalogue)?;
    member.look.notify_one();
    Ok(outcome)
}

/// The same for what is asked again until it is done.
pub(super) async fn propose_if_needed(member: &Member, kind: Kind) -> Result<CatalogueOutcome, Status> {
    let outcome = member.propose_if_needed(kind, Instant::now() + TIMEOUT).await.map_err(catalogue)?;
    member.look.notify_one();
    Ok(outcome)
}

/// The reason of a refusal, as conditions use it.
pub(super) fn reason(why: &Refused) -> &'static str {
    match why {
        Refused::NotEnoughNodes { .. } => "NotEnoughNodes",
        Refused::RetainedDataExists { .. } => "RetainedDataExists",
        Refused::NameTaken { .. } => "NameTaken",
        Refused::StoreNotFound(_) => "StoreNotFound",
        Refused::StoreRemoving(_) => "Deleting",
        Refused::InvalidReplicas(_) => "InvalidSpec",
        Refused::WrongCluster
        | Refused::BadNode(_)
        | Refused::BadReplica(_)
        | Refused::StillNamed(_)
        | Refused::GrantHeld { .. } => "Refused",
    }
}
