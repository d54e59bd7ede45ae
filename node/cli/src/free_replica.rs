//! `taffrail cluster free-replica` removes the data of a fenced replica.

use super::{
    args::GlobalArgs,
    bootstrap::{connect, failure_of, with_timeout},
    failure::Failure,
    output::Printer,
};
use taffrail_proto::admin::FreeReplicaRequest;

/// Example in the help of the command.
pub(crate) const EXAMPLE: &str =
    "Example:\n  taffrail cluster free-replica --admin main-0.main-peers:2115 --group 4 --replica 1000005";

/// Flags of `cluster free-replica`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Admin address (port 2115) of any node of the cluster.
    #[arg(long, value_name = "HOST:PORT")]
    admin: String,
    /// Group of the replica, as named by the condition ReplicaInconsistent of the store.
    #[arg(long, value_name = "GROUP")]
    group: u64,
    /// Replica to free, as named by the condition.
    #[arg(long, value_name = "REPLICA")]
    replica: u64,
}

/// Runs `taffrail cluster free-replica`.
///
/// # Errors
/// [`Failure::Refused`] if the replica is not fenced or still part of its group; otherwise the [`Failure`] that
/// [`super::run`] reports.
pub async fn run(args: &Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let Args { admin, group, replica } = args;
    let mut client = connect(admin, globals.timeout)?;
    let request = FreeReplicaRequest { group_id: *group, replica_id: *replica };
    client.free_replica(with_timeout(request, globals.timeout)).await.map_err(|e| failure_of(admin, e))?;
    printer.one(
        || format!("The data of replica {replica} of group {group} is removed."),
        || serde_json::json!({ "group_id": group, "replica_id": replica }).to_string(),
    )?;
    Ok(())
}
