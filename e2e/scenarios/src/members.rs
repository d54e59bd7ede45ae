//! The members in the status of a Cluster, and the invariants of node ids across joins and removals.

use crate::{
    http,
    scenario::{MINUTE, Scenario},
};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use taffrail_localkube::wait;

/// A member of a Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node id.
    pub node: u64,
    /// The id of the member's disk.
    pub disk: String,
}

/// Returns the members of the Cluster by pod. Pods without a membership are absent.
///
/// # Errors
/// When the API server does not respond.
pub async fn members(scenario: &Scenario) -> anyhow::Result<BTreeMap<String, Member>> {
    let cluster = scenario.get("tfc/main").await?;
    let all = cluster["status"]["members"].as_array().cloned().unwrap_or_default();
    let member = |m: &serde_json::Value| {
        let (name, disk) = (m["name"].as_str()?.to_owned(), m["diskId"].as_str()?.to_owned());
        m["role"].as_str()?;
        Some((name, Member { node: m["nodeId"].as_u64()?, disk }))
    };
    Ok(all.iter().filter_map(member).collect())
}

/// All observed node ids, each with its disk id.
#[derive(Debug, Default)]
pub struct NodeIdHistory(BTreeMap<u64, String>);

impl NodeIdHistory {
    /// Adds the current members.
    ///
    /// # Errors
    /// When two disks have the same node id, or a new node id is not greater than every earlier node id.
    pub fn record(&mut self, members: &BTreeMap<String, Member>) -> anyhow::Result<()> {
        let before = self.0.keys().next_back().copied().unwrap_or(0);
        for (pod, member) in members {
            match self.0.get(&member.node) {
                Some(disk) => ensure!(*disk == member.disk, "node id {} of {pod} was given to two disks", member.node),
                None => ensure!(member.node > before, "node id {} of {pod} is below {before}", member.node),
            }
        }
        self.0.extend(members.values().map(|m| (m.node, m.disk.clone())));
        Ok(())
    }
}

/// Waits until the Cluster has exactly `count` members, each on a pod of its own, and is Stable.
///
/// # Errors
/// When the number of members differs for two minutes, or the Cluster is not Stable three minutes later.
pub async fn wait_for_members(scenario: &Scenario, count: usize) -> anyhow::Result<BTreeMap<String, Member>> {
    wait::until("the members to settle", MINUTE * 2, || async {
        let found = members(scenario).await.map_err(|e| e.to_string())?;
        if found.len() == count { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await?;
    scenario.wait_stable(&["tfc/main"], MINUTE * 3).await?;
    members(scenario).await
}

/// Returns the number of groups with a replica on the pod's node, read from the metrics.
///
/// # Errors
/// When the metrics cannot be read.
pub async fn group_count(scenario: &Scenario, pod: &str) -> anyhow::Result<u64> {
    let endpoint = scenario.endpoints().await?.remove(pod).context("no such pod")?;
    let text = http::get(&endpoint.replace(":2113", ":9090/metrics")).await?;
    let line = text.lines().find(|l| l.starts_with("taffrail_groups ")).context("no taffrail_groups")?;
    Ok(line.rsplit(' ').next().context("no value")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pod: &str, node: u64, disk: &str) -> BTreeMap<String, Member> {
        BTreeMap::from([(pod.to_owned(), Member { node, disk: disk.to_owned() })])
    }

    #[test]
    fn ids_rise_and_stay_with_their_disk() {
        let mut ids = NodeIdHistory::default();
        ids.record(&one("main-0", 1, "a")).unwrap();
        ids.record(&one("main-0", 1, "a")).unwrap();
        ids.record(&one("main-1", 3, "b")).unwrap();
        assert!(ids.record(&one("main-0", 1, "c")).is_err(), "one id, two disks");
        assert!(ids.record(&one("main-0", 2, "c")).is_err(), "an id below one that was given");
    }
}
