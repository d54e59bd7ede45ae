//! `taffrail cluster finalize-upgrade` puts the newest rules in force that the binaries of all nodes know.

use super::{
    args::GlobalArgs,
    bootstrap::{connect, failure_of, with_timeout},
    failure::Failure,
    output::{Printer, known},
};
use std::time::Duration;
use taffrail_proto::admin::{FinalizeUpgradeRequest, FinalizeUpgradeResponse, GroupRules, UpgradeHeldUp};
use tokio::time::{Instant, sleep};

/// Example in the help of the command.
pub(crate) const EXAMPLE: &str = "Example:\n  taffrail cluster finalize-upgrade --admin main-0.main-peers:2115";
/// Interval between two calls while stores are left.
const REPEAT: Duration = Duration::from_millis(500);
const COLUMNS: [&str; 4] = ["GROUP", "STORE", "BEFORE", "AFTER"];

/// Flags of `cluster finalize-upgrade`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Admin address (port 2115) of any node of the cluster.
    #[arg(long, value_name = "HOST:PORT")]
    admin: String,
    /// Time limit for all stores to follow the newest rules.
    #[arg(long, value_parser = super::args::duration, default_value = "60s", value_name = "TIME")]
    wait: Duration,
}

/// Runs `taffrail cluster finalize-upgrade`. Prints the rules of each group before and after.
///
/// # Errors
/// [`Failure::Refused`] names the nodes that hold newer rules up, [`Failure::Unavailable`] the number of stores that are
/// left; otherwise the [`Failure`] reported by [`super::run`].
pub async fn run(args: &Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let mut client = connect(&args.admin, globals.timeout)?;
    let end = Instant::now() + args.wait;
    let mut first: Option<FinalizeUpgradeResponse> = None;
    let last = loop {
        let request = with_timeout(FinalizeUpgradeRequest {}, globals.timeout);
        let answer = client.finalize_upgrade(request).await.map_err(|e| failure_of(&args.admin, e))?.into_inner();
        if answer.done || !answer.held_up_by.is_empty() || Instant::now() >= end {
            break answer;
        }
        first.get_or_insert(answer);
        sleep(REPEAT).await;
    };
    let groups = since(first.as_ref(), &last);
    printer.list(&COLUMNS, groups.iter().map(row).collect())?;
    verdict(&last)
}

/// Returns the groups of the last answer with the rules from before the first call.
fn since(first: Option<&FinalizeUpgradeResponse>, last: &FinalizeUpgradeResponse) -> Vec<GroupRules> {
    let before = |group: &GroupRules| match first.and_then(|f| f.groups.iter().find(|g| g.group_id == group.group_id)) {
        Some(first) => first.before,
        None => group.before,
    };
    last.groups.iter().map(|group| GroupRules { before: before(group), ..group.clone() }).collect()
}

fn row(group: &GroupRules) -> (Vec<String>, String) {
    let store = if group.name.is_empty() { "-".to_owned() } else { format!("{}/{}", group.namespace, group.name) };
    let json = serde_json::json!({
        "group_id": group.group_id, "namespace": group.namespace, "name": group.name,
        "before": group.before, "after": group.after,
    });
    (vec![group.group_id.to_string(), store, known(group.before), known(group.after)], json.to_string())
}

/// Returns the failure of an answer that is not done.
fn verdict(answer: &FinalizeUpgradeResponse) -> Result<(), Failure> {
    if !answer.held_up_by.is_empty() {
        let nodes: Vec<String> = answer.held_up_by.iter().map(describe).collect();
        return Err(Failure::Refused(format!(
            "newer rules stay out of force until every node knows them; upgrade or remove {}",
            nodes.join(", ")
        )));
    }
    if !answer.done {
        return Err(Failure::Unavailable(
            "some stores do not follow the newest rules yet; repeat the command".to_owned(),
        ));
    }
    Ok(())
}

fn describe(node: &UpgradeHeldUp) -> String {
    let UpgradeHeldUp { node_id, name, version, known_catalogue_rules, known_store_rules } = node;
    match (known_catalogue_rules, known_store_rules) {
        (Some(catalogue), Some(stores)) => format!(
            "node {node_id} ({name}, version {version}, knows rules {catalogue} of the catalogue and {stores} of stores)"
        ),
        _ => format!("node {node_id} ({name}, does not answer)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(before: Option<u32>, after: Option<u32>) -> GroupRules {
        GroupRules { group_id: 4, namespace: "default".into(), name: "orders".into(), before, after }
    }

    #[test]
    fn the_rows_show_the_rules_from_before_the_first_call() {
        let answer = |before, after| FinalizeUpgradeResponse {
            groups: vec![group(before, after)],
            ..FinalizeUpgradeResponse::default()
        };
        let (first, last) = (answer(Some(1), Some(1)), answer(Some(2), Some(2)));
        assert_eq!(since(Some(&first), &last), [group(Some(1), Some(2))]);
        assert_eq!(since(None, &last), [group(Some(2), Some(2))]);
        assert_eq!(row(&group(Some(1), None)).0, ["4", "default/orders", "1", &known(None::<u32>)]);
    }

    #[test]
    fn the_failure_names_each_node_that_holds_the_rules_up() {
        let held_up = |node_id, rules| UpgradeHeldUp {
            node_id,
            name: format!("main-{node_id}"),
            version: "0.1.0".into(),
            known_catalogue_rules: rules,
            known_store_rules: rules,
        };
        let answer = FinalizeUpgradeResponse {
            held_up_by: vec![held_up(2, Some(1)), held_up(3, None)],
            ..FinalizeUpgradeResponse::default()
        };
        let failure = verdict(&answer).unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        let text = failure.to_string();
        assert!(text.contains("node 2 (main-2, version 0.1.0, knows rules 1"), "{text}");
        assert!(text.contains("node 3 (main-3, does not answer)"), "{text}");
        assert_eq!(verdict(&FinalizeUpgradeResponse::default()).unwrap_err().exit_code(), 5);
        assert!(verdict(&FinalizeUpgradeResponse { done: true, ..FinalizeUpgradeResponse::default() }).is_ok());
    }
}
