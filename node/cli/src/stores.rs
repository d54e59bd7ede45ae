//! `taffrail stores`: the stores of a cluster.

use super::{
    args::GlobalArgs,
    failure::Failure,
    output::{Printer, UNKNOWN, known},
};
use serde_json::json;
use taffrail_client::v1;

/// Commands of `taffrail stores`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List the stores of the cluster.
    List {
        /// Include retained stores, whose EventStore was deleted and whose events are kept.
        #[arg(long = "retained")]
        include_retained: bool,
    },
    /// Show a store and the replicas of the store.
    Info {
        /// Name of the store: NAME or NAMESPACE/NAME. Default: the store of --store.
        name: Option<String>,
    },
}

/// Runs a command of `taffrail stores`.
///
/// # Errors
/// The [`Failure`] reported by [`super::run`].
pub async fn run(command: &Command, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let client = globals.client()?;
    match command {
        Command::List { include_retained } => {
            let stores = client.stores(*include_retained).await?;
            let rows = stores.iter().map(|s| (cells(s), json(s).to_string())).collect();
            let header = ["STORE", "STATE", "REPLICAS", "LEADER", "EVENTS", "LAST POSITION", "ID"];
            printer.list(&header, rows)?;
        }
        Command::Info { name } => {
            let store = client.store(name.as_deref().unwrap_or_default()).await?;
            printer.one(|| describe(&store), || json(&store).to_string())?;
        }
    }
    Ok(())
}

fn state(s: &v1::Store) -> &'static str {
    match s.state() {
        v1::StoreState::Unspecified => "unknown",
        v1::StoreState::Creating => "creating",
        v1::StoreState::Active => "active",
        v1::StoreState::Retained => "retained",
        v1::StoreState::Removing => "removing",
    }
}

fn leader(s: &v1::Store) -> String {
    s.leader_node_id.map_or_else(|| UNKNOWN.to_owned(), |node| format!("node {node}"))
}

/// Returns the number of caught-up voters; `None` if the answering node does not know which replicas have caught up.
fn caught_up(s: &v1::Store) -> Option<usize> {
    let counted = s.members.iter().filter(|m| m.voter() && m.caught_up()).count();
    s.members.iter().any(|m| m.caught_up.is_some()).then_some(counted)
}

fn cells(s: &v1::Store) -> Vec<String> {
    vec![
        format!("{}/{}", s.namespace, s.name),
        state(s).to_owned(),
        format!("{}/{}", known(caught_up(s)), s.replicas),
        leader(s),
        known(s.event_count),
        known(s.last_position),
        s.id.clone(),
    ]
}

fn describe(s: &v1::Store) -> String {
    let mut lines = vec![
        format!("store:          {}/{}", s.namespace, s.name),
        format!("id:             {}", s.id),
        format!("state:          {}", state(s)),
        format!("replicas:       {}", s.replicas),
        format!("leader:         {}", leader(s)),
        format!("term:           {}", known(s.term)),
        format!("events:         {}", known(s.event_count)),
        format!("last position:  {}", known(s.last_position)),
        format!("applied index:  {}", known(s.applied_index)),
        format!(
            "digest:         {}",
            if s.digest.is_empty() { "(no replica on the answering node)" } else { &s.digest }
        ),
    ];
    for m in &s.members {
        let role = match (m.leader, m.voter) {
            (Some(true), _) => ", leader",
            (_, Some(true)) => ", voter",
            (_, Some(false)) => ", learner",
            (_, None) => "",
        };
        let lag = match m.caught_up {
            Some(true) => ", caught up",
            Some(false) => ", behind",
            None => "",
        };
        lines.push(format!("replica {:<7} node {}{role}{lag}", m.replica_id, m.node_id));
    }
    lines.join("\n")
}

fn json(s: &v1::Store) -> serde_json::Value {
    json!({
        "namespace": s.namespace,
        "name": s.name,
        "id": s.id,
        "state": state(s),
        "replicas": s.replicas,
        "leader_node_id": s.leader_node_id,
        "term": s.term,
        "event_count": s.event_count,
        "last_position": s.last_position,
        "applied_index": s.applied_index,
        "digest": (!s.digest.is_empty()).then_some(&s.digest),
        "members": s.members.iter().map(|m| json!({
            "replica_id": m.replica_id,
            "node_id": m.node_id,
            "voter": m.voter,
            "leader": m.leader,
            "caught_up": m.caught_up,
        })).collect::<Vec<_>>(),
    })
}
