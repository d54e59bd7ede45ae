//! `taffrail stores`: the stores of a cluster.

use super::{args::GlobalArgs, failure::Failure, output::Printer};
use serde_json::json;
use taffrail_client::v1;

/// Commands of `taffrail stores`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List the stores of the cluster.
    List {
        /// Include retained stores, whose EventStore was deleted and whose events are kept.
        #[arg(long)]
        retained: bool,
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
        Command::List { retained } => {
            let stores = client.stores(*retained).await?;
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
    if s.leader == 0 { "-".to_owned() } else { format!("node {}", s.leader) }
}

fn cells(s: &v1::Store) -> Vec<String> {
    vec![
        format!("{}/{}", s.namespace, s.name),
        state(s).to_owned(),
        format!("{}/{}", s.members.iter().filter(|m| m.voter && m.caught_up).count(), s.replicas),
        leader(s),
        s.events.to_string(),
        s.last_position.to_string(),
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
        format!("term:           {}", s.term),
        format!("events:         {}", s.events),
        format!("last position:  {}", s.last_position),
        format!("applied index:  {}", s.applied_index),
        format!(
            "digest:         {}",
            if s.digest.is_empty() { "(no replica on the answering node)" } else { &s.digest }
        ),
    ];
    for m in &s.members {
        let role = match (m.leader, m.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        let lag = if m.caught_up { "caught up" } else { "behind" };
        lines.push(format!("replica {:<7} node {}, {role}, {lag}", m.replica_id, m.node_id));
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
        "leader": s.leader,
        "term": s.term,
        "events": s.events,
        "last_position": s.last_position,
        "applied_index": s.applied_index,
        "digest": s.digest,
        "members": s.members.iter().map(|m| json!({
            "replica_id": m.replica_id,
            "node_id": m.node_id,
            "voter": m.voter,
            "leader": m.leader,
            "caught_up": m.caught_up,
        })).collect::<Vec<_>>(),
    })
}
