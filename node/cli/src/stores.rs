//! `taffrail stores`: the stores of a cluster.

use super::{
    args::{GlobalArgs, duration},
    failure::Failure,
    output::{Printer, UNKNOWN, known},
};
use serde_json::json;
use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    time::Duration,
};
use taffrail_client::{Client, v1};
use taffrail_runtime as rt;
use tokio::time::{Instant, sleep};

/// Interval between two polls of a removal.
const POLL: Duration = Duration::from_millis(100);
/// Maximum number of bytes that are read as a confirmation.
const CONFIRMATION_BYTES_MAX: u64 = 1024;

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
    /// Create a store, for clusters without the operator. A repeat with the same settings changes nothing. The operator
    /// leaves the store alone until an EventStore with the id of the store as storeId adopts the store.
    Create {
        /// Name of the new store: NAME or NAMESPACE/NAME.
        name: String,
        /// Number of replicas: 1, 3, 5 or 7, at most the number of nodes.
        #[arg(long, default_value_t = 3, value_name = "N")]
        replicas: u32,
    },
    /// Remove a store that was made with `stores create`, and its data from every node. Asks for the name on a terminal.
    Remove(RemoveArgs),
}

/// Flags of `stores remove`.
#[derive(Clone, Debug, clap::Args)]
pub struct RemoveArgs {
    /// Name of the store: NAME or NAMESPACE/NAME.
    name: String,
    /// Remove the store without a question, for scripts.
    #[arg(long)]
    yes: bool,
    /// Time limit for all nodes to remove the data. Run the command again to continue to wait.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME")]
    wait: Duration,
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
            let header = ["STORE", "STATE", "REPLICAS", "LEADER", "EVENTS", "LAST POSITION", "MANAGED BY", "ID"];
            printer.list(&header, rows)?;
        }
        Command::Info { name } => {
            let store = client.store(name.as_deref().unwrap_or_default()).await?;
            printer.one(|| describe(&store), || json(&store).to_string())?;
        }
        Command::Create { name, replicas } => {
            let store = client.create_store(name, *replicas).await?;
            printer.one(|| describe(&store), || json(&store).to_string())?;
        }
        Command::Remove(args) => remove(args, &client, printer).await?,
    }
    Ok(())
}

/// Removes a store after a confirmation, and waits until the data is gone.
async fn remove(args: &RemoveArgs, client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let store = client.store(&args.name).await?;
    if !args.yes {
        confirm(&store).await?;
    }
    let end = Instant::now() + args.wait;
    loop {
        let progress = match client.remove_store(&store.id).await {
            Err(error) if !error.is_retryable() => return Err(error.into()),
            progress => progress,
        };
        if progress.as_ref().is_ok_and(|progress| progress.done) {
            break;
        }
        if Instant::now() >= end {
            let waiting_for = progress?.waiting_for;
            let name = full_name(&store);
            return Err(Failure::Unavailable(format!(
                "{name} is being removed, but not all data is gone after {:?}: {waiting_for}; run the command again",
                args.wait
            )));
        }
        sleep(POLL).await;
    }
    let removed = json!({ "namespace": store.namespace, "name": store.name, "id": store.id, "removed": true });
    Ok(printer.one(|| format!("removed {} ({})", full_name(&store), store.id), || removed.to_string())?)
}

/// Asks for the name or id of the store on the terminal.
///
/// # Errors
/// [`Failure::Usage`] without a terminal; [`Failure::Refused`] for another name or id.
async fn confirm(store: &v1::Store) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let message = "a removal needs a confirmation: run the command on a terminal, or give --yes";
        return Err(Failure::Usage(message.to_owned()));
    }
    let (name, id, events) = (full_name(store), &store.id, known(store.event_count));
    let mut err = io::stderr();
    write!(err, "The removal of {name} (id {id}, events: {events}) is final. Type {name} to confirm: ")?;
    err.flush()?;
    let read = || {
        let mut line = String::new();
        io::stdin().lock().take(CONFIRMATION_BYTES_MAX).read_line(&mut line).map(|_| line)
    };
    let line = rt::blocking(read).await.map_err(|e| Failure::Local(e.to_string()))??;
    if confirms(&line, store) {
        return Ok(());
    }
    Err(Failure::Refused(format!("the confirmation is not {name}; nothing was removed")))
}

/// Returns true for the exact full name or id of the store.
fn confirms(line: &str, store: &v1::Store) -> bool {
    let given = line.trim();
    given == full_name(store) || given == store.id
}

fn full_name(s: &v1::Store) -> String {
    format!("{}/{}", s.namespace, s.name)
}

fn managed_by(s: &v1::Store) -> &'static str {
    match s.managed_by() {
        v1::StoreManager::Unspecified => "unknown",
        v1::StoreManager::Api => "api",
        v1::StoreManager::EventStore => "eventstore",
    }
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
        full_name(s),
        state(s).to_owned(),
        format!("{}/{}", known(caught_up(s)), s.replicas),
        leader(s),
        known(s.event_count),
        known(s.last_position),
        managed_by(s).to_owned(),
        s.id.clone(),
    ]
}

fn describe(s: &v1::Store) -> String {
    let mut lines = vec![
        format!("store:          {}", full_name(s)),
        format!("id:             {}", s.id),
        format!("state:          {}", state(s)),
        format!("managed by:     {}", managed_by(s)),
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
        "managed_by": managed_by(s),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_or_id_confirms_a_removal() {
        let store = v1::Store {
            namespace: "default".into(),
            name: "orders".into(),
            id: "67e55044-10b1-426f-9247-bb680e5fe0c8".into(),
            ..v1::Store::default()
        };
        for good in ["default/orders\n", "default/orders", "67e55044-10b1-426f-9247-bb680e5fe0c8\r\n"] {
            assert!(confirms(good, &store), "{good:?}");
        }
        for bad in ["", "\n", "y\n", "yes\n", "orders\n", "default/orders-2\n", "other/orders\n"] {
            assert!(!confirms(bad, &store), "{bad:?}");
        }
    }
}
