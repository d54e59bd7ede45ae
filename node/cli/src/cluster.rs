//! `taffrail cluster`: the status of cluster and nodes, the bootstrap outside Kubernetes, the end of an upgrade, and the removal of
//! the data of fenced replicas.

use super::{
    args::GlobalArgs,
    bootstrap,
    failure::Failure,
    finalize_upgrade, free_replica,
    output::{Printer, UNKNOWN, known, table},
};
use serde_json::json;
use taffrail_client::v1;

/// Commands of `taffrail cluster`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Show the status of the cluster, as observed by the answering node.
    Status,
    /// List the nodes of the cluster.
    Nodes,
    /// Show the current status, then every change of the status, until Ctrl-C.
    Watch,
    /// Form a cluster of blank nodes, once. For nodes outside Kubernetes only: on Kubernetes the operator
    /// forms the cluster.
    Bootstrap(bootstrap::Args),
    /// Finish an upgrade: put the newest rules in force that the binaries of all nodes know.
    ///
    /// Older binaries do not run any more afterwards. The nodes finish an upgrade by themselves unless their setting
    /// upgrade.finalize is on-demand.
    #[command(after_help = finalize_upgrade::EXAMPLE)]
    FinalizeUpgrade(finalize_upgrade::Args),
    /// Remove the data of a fenced replica for ever, after you have found the cause of the fence.
    ///
    /// A fenced replica reached a different state than the majority of its group (condition ReplicaInconsistent), and its
    /// data is kept as evidence. A replica that is still part of its group is refused.
    #[command(after_help = free_replica::EXAMPLE)]
    FreeReplica(free_replica::Args),
}

/// Runs a command of `taffrail cluster`.
///
/// # Errors
/// The [`Failure`] reported by [`super::run`].
pub async fn run(command: &Command, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    match command {
        Command::Status => {
            let status = globals.client()?.cluster_status().await?;
            printer.one(|| describe(&status), || json(&status).to_string())?;
        }
        Command::Nodes => {
            let status = globals.client()?.cluster_status().await?;
            let rows = status.nodes.iter().map(|n| (cells(n), node_json(n).to_string())).collect();
            printer.list(&NODE_COLUMNS, rows)?;
        }
        Command::Watch => {
            let client = globals.client()?;
            tokio::select! {
                biased;
                interrupted = tokio::signal::ctrl_c() => interrupted?,
                done = async {
                    let mut watch = client.cluster_watch().await?;
                    while let Some(status) = watch.next().await? {
                        printer.item(|| describe(&status) + "\n", || json(&status).to_string())?;
                        printer.flush()?;
                    }
                    Ok::<(), Failure>(())
                } => done?,
            }
        }
        Command::Bootstrap(args) => bootstrap::run(args, globals, printer).await?,
        Command::FinalizeUpgrade(args) => finalize_upgrade::run(args, globals, printer).await?,
        Command::FreeReplica(args) => free_replica::run(args, globals, printer).await?,
    }
    Ok(())
}

const NODE_COLUMNS: [&str; 11] = [
    "NODE",
    "NAME",
    "STATE",
    "REACHABLE",
    "SYSTEM",
    "GROUPS",
    "LEADERS",
    "DISK FREE",
    "VERSION",
    "PEER ADDRESS",
    "CLIENT ADDRESS",
];
/// Disks up to this size are shown in mebibytes, larger disks in gibibytes.
const SHOWN_IN_MIB_MAX: u64 = 10 << 30;

fn state(n: &v1::Node) -> &'static str {
    match n.state() {
        v1::NodeState::Unspecified => "unknown",
        v1::NodeState::Member => "member",
        v1::NodeState::Draining => "draining",
        v1::NodeState::Drained => "drained",
        v1::NodeState::Removed => "removed",
    }
}

/// The free bytes of a disk for people, such as `37 of 50 GiB`.
fn disk_free(n: &v1::Node) -> String {
    let (Some(total), Some(free)) = (n.disk_total_bytes, n.disk_free_bytes) else { return UNKNOWN.to_owned() };
    let (shift, unit) = if total <= SHOWN_IN_MIB_MAX { (20, "MiB") } else { (30, "GiB") };
    let low = if n.storage_low { ", low" } else { "" };
    format!("{} of {} {unit}{low}", free >> shift, total >> shift)
}

fn cells(n: &v1::Node) -> Vec<String> {
    let yes = |b: bool| if b { "yes" } else { "no" }.to_owned();
    vec![
        n.node_id.to_string(),
        n.name.clone(),
        state(n).to_owned(),
        yes(n.reachable),
        if n.system_voter { "voter" } else { "learner" }.to_owned(),
        n.group_count.to_string(),
        known(n.leader_count),
        disk_free(n),
        n.version.clone(),
        n.peer_address.clone(),
        if n.client_address.is_empty() { UNKNOWN.to_owned() } else { n.client_address.clone() },
    ]
}

fn describe(s: &v1::ClusterStatus) -> String {
    let coordinator = s.coordinator_node_id.map_or_else(|| "none".to_owned(), |node| format!("node {node}"));
    let mut text = format!(
        "cluster:      {}\ncoordinator:  {coordinator}, term {}\nstores:       {}\nanswered by:  node {}\n",
        s.cluster_id,
        known(s.term),
        s.store_count,
        s.answered_by_node_id
    );
    for problem in &s.problems {
        text.push_str(&format!("problem:      {}: {}\n", problem.reason, problem.message));
    }
    text.push('\n');
    text.push_str(&table(&NODE_COLUMNS, &s.nodes.iter().map(cells).collect::<Vec<_>>()));
    text.trim_end().to_owned()
}

fn node_json(n: &v1::Node) -> serde_json::Value {
    json!({
        "node_id": n.node_id,
        "disk_id": n.disk_id,
        "name": n.name,
        "state": state(n),
        "reachable": n.reachable,
        "system_voter": n.system_voter,
        "group_count": n.group_count,
        "leader_count": n.leader_count,
        "disk_total_bytes": n.disk_total_bytes,
        "disk_free_bytes": n.disk_free_bytes,
        "storage_low": n.storage_low,
        "version": n.version,
        "peer_address": n.peer_address,
        "client_address": (!n.client_address.is_empty()).then_some(&n.client_address),
    })
}

fn json(s: &v1::ClusterStatus) -> serde_json::Value {
    json!({
        "cluster_id": s.cluster_id,
        "coordinator_node_id": s.coordinator_node_id,
        "term": s.term,
        "store_count": s.store_count,
        "answered_by_node_id": s.answered_by_node_id,
        "problems": s.problems.iter().map(|p| json!({ "reason": p.reason, "message": p.message })).collect::<Vec<_>>(),
        "nodes": s.nodes.iter().map(node_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_space_of_a_disk_is_readable_at_every_size() {
        let shown = |disk_total_bytes, disk_free_bytes, storage_low| {
            disk_free(&v1::Node { disk_total_bytes, disk_free_bytes, storage_low, ..v1::Node::default() })
        };
        assert_eq!(shown(Some(512 << 20), Some(31 << 20), true), "31 of 512 MiB, low");
        assert_eq!(shown(Some(50 << 30), Some(37 << 30), false), "37 of 50 GiB");
        assert_eq!(shown(None, None, false), "-");
    }
}
