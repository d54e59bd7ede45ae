//! `taffrail cluster bootstrap` forms a cluster of blank nodes, once, outside Kubernetes.
//!
//! The command reads the status of all nodes before it changes any node. `plan` refuses every step that could join
//! two clusters, or bootstrap a disk that has held data. A second run of the same command completes an interrupted run.

use super::{args::GlobalArgs, failure::Failure, output::Printer};
use std::{collections::BTreeSet, time::Duration};
use taffrail_client::Error;
use taffrail_proto::admin::{self, admin_client::AdminClient};
use tokio::time::{Instant, sleep};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

/// Interval between two polls of the status of all nodes.
const POLL: Duration = Duration::from_millis(100);

/// Flags of `cluster bootstrap`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Admin addresses (port 2115) of all nodes of the cluster. The first node in the list becomes the first member.
    #[arg(long, value_delimiter = ',', required = true, value_name = "HOST:PORT,...")]
    admin: Vec<String>,
    /// Id of the new cluster, a random UUID by default. An id that is recorded beforehand makes the command repeatable.
    #[arg(long, value_name = "UUID")]
    cluster_id: Option<Uuid>,
    /// Time limit for all nodes to become members.
    #[arg(long, value_parser = super::args::duration, default_value = "60s", value_name = "TIME")]
    wait: Duration,
}

/// Steps that complete the bootstrap, given the status of the nodes.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// No step is left: all nodes are members of this cluster.
    Done(String),
    /// Bootstrap the node with this index as the first member unless a member exists, then let the nodes
    /// in `join` join.
    Act { cluster: String, bootstrap: Option<usize>, join: Vec<usize> },
}

/// Runs `taffrail cluster bootstrap`.
///
/// # Errors
/// The [`Failure`] reported by [`super::run`].
pub async fn run(args: &Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let mut clients = Vec::with_capacity(args.admin.len());
    for address in &args.admin {
        clients.push((address.clone(), connect(address, globals.timeout)?));
    }
    let nodes = statuses(&mut clients, globals.timeout).await?;
    let plan = plan(&nodes, args.cluster_id, taffrail_runtime::new_uuid).map_err(Failure::Refused)?;
    let cluster = match plan {
        Plan::Done(cluster) => cluster,
        Plan::Act { cluster, bootstrap, join } => {
            if let Some(first) = bootstrap {
                let (address, client) = &mut clients[first];
                let request =
                    admin::BootstrapRequest { cluster_id: cluster.clone(), disk_id: nodes[first].1.disk_id.clone() };
                client.bootstrap(with_timeout(request, globals.timeout)).await.map_err(|e| failure_of(address, e))?;
            }
            for other in join {
                let (address, client) = &mut clients[other];
                let request =
                    admin::JoinRequest { cluster_id: cluster.clone(), disk_id: nodes[other].1.disk_id.clone() };
                client.join(with_timeout(request, globals.timeout)).await.map_err(|e| failure_of(address, e))?;
            }
            cluster
        }
    };
    let nodes = wait_for_members(&mut clients, &cluster, args.wait, globals.timeout).await?;
    let rows = nodes.iter().map(|(address, n)| {
        let json = serde_json::json!({
            "cluster_id": n.cluster_id, "node_id": n.node_id, "name": n.name, "disk_id": n.disk_id, "admin": address,
        });
        let cells = vec![n.node_id.to_string(), n.name.clone(), address.clone(), n.cluster_id.clone()];
        (cells, json.to_string())
    });
    Ok(printer.list(&["NODE", "NAME", "ADMIN", "CLUSTER"], rows.collect())?)
}

/// Chooses the steps. `mint` draws the id of the cluster and is called only for a new cluster.
///
/// # Errors
/// A sentence with the node and the rule that forbids the bootstrap.
fn plan(
    nodes: &[(String, admin::NodeStatus)],
    wanted: Option<Uuid>,
    mint: impl FnOnce() -> Uuid,
) -> Result<Plan, String> {
    let mut disks = BTreeSet::new();
    for (address, node) in nodes {
        if !disks.insert(&node.disk_id) {
            return Err(format!("{address}: this node is in the list twice (disk {})", node.disk_id));
        }
        if node.lifecycle() == admin::Lifecycle::Fenced {
            return Err(format!("{address}: the node is fenced: {}", node.fence_reason));
        }
        if node.lifecycle() == admin::Lifecycle::Unspecified {
            return Err(format!("{address}: the node does not report a lifecycle state"));
        }
        if node.cluster_id.is_empty() && !node.blank {
            return Err(format!(
                "{address}: the disk of this node has held data; only blank disks can be bootstrapped"
            ));
        }
    }
    let clusters: BTreeSet<&str> = nodes.iter().map(|(_, n)| n.cluster_id.as_str()).filter(|c| !c.is_empty()).collect();
    let mut clusters = clusters.into_iter();
    let found = clusters.next();
    if let (Some(a), Some(b)) = (found, clusters.next()) {
        return Err(format!("the nodes belong to different clusters, {a} and {b}; nothing was changed"));
    }
    let wanted = wanted.map(|w| w.to_string());
    if let (Some(found), Some(wanted)) = (found, &wanted)
        && found != wanted
    {
        return Err(format!("the nodes belong to cluster {found}, not to {wanted}; nothing was changed"));
    }
    let blank: Vec<usize> = (0..nodes.len()).filter(|&i| nodes[i].1.cluster_id.is_empty()).collect();
    let Some(found) = found else {
        let cluster = wanted.unwrap_or_else(|| mint().to_string());
        return Ok(Plan::Act { cluster, bootstrap: Some(0), join: (1..nodes.len()).collect() });
    };
    let cluster = found.to_owned();
    let member = nodes.iter().any(|(_, n)| n.lifecycle() == admin::Lifecycle::Member);
    if member {
        let all = blank.is_empty() && nodes.iter().all(|(_, n)| n.lifecycle() == admin::Lifecycle::Member);
        return Ok(if all { Plan::Done(cluster) } else { Plan::Act { cluster, bootstrap: None, join: blank } });
    }
    // An interrupted run bootstrapped the first node of its list first. The same node must be first again, with the
    // same cluster id.
    if blank.contains(&0) {
        let first = nodes.iter().find(|(_, n)| !n.cluster_id.is_empty()).map_or("", |(a, _)| a);
        return Err(format!("an earlier bootstrap of cluster {cluster} was interrupted; put {first} first in --admin"));
    }
    Ok(Plan::Act { cluster, bootstrap: Some(0), join: blank })
}

type Clients = Vec<(String, AdminClient<Channel>)>;

pub(crate) fn connect(address: &str, timeout: Duration) -> Result<AdminClient<Channel>, Failure> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri).map_err(|e| Failure::Usage(format!("--admin {address}: {e}")))?;
    Ok(AdminClient::new(endpoint.connect_timeout(timeout).connect_lazy()))
}

pub(crate) fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Converts the status of a failed admin call to a [`Failure`] that names the node.
pub(crate) fn failure_of(address: &str, status: tonic::Status) -> Failure {
    match Error::from_status(status) {
        Error::Unavailable { message, .. } | Error::Deadline { message } => {
            Failure::Unavailable(format!("{address}: {message}"))
        }
        other @ (Error::InvalidEndpoint { .. }
        | Error::Invalid { .. }
        | Error::Rejected(_)
        | Error::NotFound { .. }
        | Error::OutcomeUnknown { .. }
        | Error::Denied { .. }
        | Error::Failed(_)) => Failure::Refused(format!("{address}: {other}")),
    }
}

async fn statuses(clients: &mut Clients, timeout: Duration) -> Result<Vec<(String, admin::NodeStatus)>, Failure> {
    let mut nodes = Vec::with_capacity(clients.len());
    for (address, client) in clients {
        let status =
            client.status(with_timeout(admin::StatusRequest {}, timeout)).await.map_err(|e| failure_of(address, e))?;
        nodes.push((address.clone(), status.into_inner()));
    }
    Ok(nodes)
}

/// Polls until every node is a member of the cluster, for at most `wait`. A fenced node ends the wait.
async fn wait_for_members(
    clients: &mut Clients,
    cluster: &str,
    wait: Duration,
    timeout: Duration,
) -> Result<Vec<(String, admin::NodeStatus)>, Failure> {
    let end = Instant::now() + wait;
    loop {
        let nodes = statuses(clients, timeout).await?;
        if let Some((address, fenced)) = nodes.iter().find(|(_, n)| n.lifecycle() == admin::Lifecycle::Fenced) {
            return Err(Failure::Refused(format!("{address}: the node is fenced: {}", fenced.fence_reason)));
        }
        let waiting = nodes.iter().find(|(_, n)| n.lifecycle() != admin::Lifecycle::Member || n.cluster_id != cluster);
        let Some((address, node)) = waiting else { return Ok(nodes) };
        if Instant::now() >= end {
            let why = if node.ready_reason.is_empty() { "no reason given" } else { &node.ready_reason };
            return Err(Failure::Unavailable(format!(
                "{address}: the node is not a member of cluster {cluster} yet: {why}"
            )));
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::Lifecycle::{Blank, Fenced, Joining, Member};

    const A: Uuid = Uuid::from_u128(0xa);
    const B: Uuid = Uuid::from_u128(0xb);

    fn node(n: usize, lifecycle: admin::Lifecycle, cluster: Option<Uuid>) -> (String, admin::NodeStatus) {
        let status = admin::NodeStatus {
            lifecycle: lifecycle.into(),
            cluster_id: cluster.map(|c| c.to_string()).unwrap_or_default(),
            disk_id: format!("disk-{n}"),
            blank: cluster.is_none(),
            ..admin::NodeStatus::default()
        };
        (format!("n{n}"), status)
    }

    fn act(cluster: Uuid, bootstrap: Option<usize>, join: &[usize]) -> Plan {
        Plan::Act { cluster: cluster.to_string(), bootstrap, join: join.to_vec() }
    }

    #[test]
    fn blank_nodes_become_one_cluster() {
        let nodes = [node(0, Blank, None), node(1, Blank, None), node(2, Blank, None)];
        assert_eq!(plan(&nodes, None, || A), Ok(act(A, Some(0), &[1, 2])));
        assert_eq!(plan(&nodes, Some(B), || A), Ok(act(B, Some(0), &[1, 2])));
    }

    #[test]
    fn a_finished_cluster_is_left_alone() {
        let nodes = [node(0, Member, Some(A)), node(1, Member, Some(A))];
        assert_eq!(plan(&nodes, None, || B), Ok(Plan::Done(A.to_string())));
        assert_eq!(plan(&nodes, Some(A), || B), Ok(Plan::Done(A.to_string())));
    }

    #[test]
    fn an_interrupted_run_goes_on() {
        let nodes = [node(0, Member, Some(A)), node(1, Joining, Some(A)), node(2, Blank, None)];
        assert_eq!(plan(&nodes, None, || B), Ok(act(A, None, &[2])));
        let nodes = [node(0, Joining, Some(A)), node(1, Blank, None)];
        assert_eq!(plan(&nodes, None, || B), Ok(act(A, Some(0), &[1])));
        let nodes = [node(0, Blank, None), node(1, Joining, Some(A))];
        assert!(plan(&nodes, None, || B).unwrap_err().contains("put n1 first"));
    }

    #[test]
    fn foreign_used_fenced_and_doubled_nodes_are_refused() {
        let two = [node(0, Member, Some(A)), node(1, Member, Some(B))];
        assert!(plan(&two, None, || A).unwrap_err().contains("different clusters"));
        let other = [node(0, Member, Some(A))];
        assert!(plan(&other, Some(B), || A).unwrap_err().contains("not to"));
        let mut used = [node(0, Blank, None)];
        used[0].1.blank = false;
        assert!(plan(&used, None, || A).unwrap_err().contains("has held data"));
        assert!(plan(&[node(0, Fenced, Some(A))], None, || A).unwrap_err().contains("fenced"));
        assert!(plan(&[node(0, Blank, None), node(0, Blank, None)], None, || A).unwrap_err().contains("twice"));
    }
}
