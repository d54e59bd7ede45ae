//! Proposes commands for the catalogue, and turns errors and refusals into gRPC statuses.

use crate::member::{member::Member, propose::CatalogueError};
use std::time::Duration;
use taffrail_core::catalogue::{CatalogueOutcome, Kind, Refused};
use tokio::time::Instant;
use tonic::Status;

/// Time for the coordinator to answer a call.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Writes a command, then wakes the coordinator to act on the change.
pub(super) async fn propose(member: &Member, kind: Kind) -> Result<CatalogueOutcome, Status> {
    let outcome = member.propose(kind, Instant::now() + TIMEOUT).await.map_err(status)?;
    member.look.notify_one();
    Ok(outcome)
}

/// Like [`propose`], but writes nothing when the catalogue already has the requested state. Suits calls
/// repeated by the operator.
pub(super) async fn propose_if_needed(member: &Member, kind: Kind) -> Result<CatalogueOutcome, Status> {
    let outcome = member.propose_if_needed(kind, Instant::now() + TIMEOUT).await.map_err(status)?;
    member.look.notify_one();
    Ok(outcome)
}

fn status(e: CatalogueError) -> Status {
    match e {
        CatalogueError::NoCoordinator(_) => Status::unavailable(e.to_string()),
        CatalogueError::Unknown(_) => Status::unknown(e.to_string()),
    }
}

/// The status of a refused command.
pub(super) fn refused(why: &Refused) -> Status {
    Status::failed_precondition(why.to_string())
}

/// The reason of a refusal, a word for conditions.
pub(super) fn reason(why: &Refused) -> &'static str {
    match why {
        Refused::NotEnoughNodes { .. } => "NotEnoughNodes",
        Refused::RetainedDataExists { .. } => "RetainedDataExists",
        Refused::NameTaken { .. } | Refused::StoreExists { .. } | Refused::Declared { .. } => "NameTaken",
        Refused::StoreNotFound(_) => "StoreNotFound",
        Refused::StoreRemoving(_) => "Deleting",
        Refused::InvalidReplicas(_) => "InvalidSpec",
        Refused::WrongCluster
        | Refused::BadNode(_)
        | Refused::BadReplica(_)
        | Refused::StillNamed(_)
        | Refused::UpgradePending { .. }
        | Refused::GrantHeld { .. } => "Refused",
    }
}
