//! The members of a Cluster as its status shows them, and what must hold of their ids however often they come and go.

use crate::{
    command::Run,
    scene::{MINUTE, Scene},
};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its node id.
    pub node: u64,
    /// Its disk id.
    pub disk: String,
}

/// Members by pod; a pod that is not a member yet is left out.
///
/// # Errors
/// When the API server does not answer.
pub async fn members(scene: &Scene) -> anyhow::Result<BTreeMap<String, Member>> {
    let cluster = scene.get("tfc/main").await?;
    let all = cluster["status"]["members"].as_array().cloned().unwrap_or_default();
    let member = |m: &serde_json::Value| {
        let (name, disk) = (m["name"].as_str()?.to_owned(), m["diskId"].as_str()?.to_owned());
        m["role"].as_str()?;
        Some((name, Member { node: m["nodeId"].as_u64()?, disk }))
    };
    Ok(all.iter().filter_map(member).collect())
}

/// Every id that was ever seen, and the disk that had it.
#[derive(Debug, Default)]
pub struct Ids(BTreeMap<u64, String>);

impl Ids {
    /// Adds the members of now.
    ///
    /// # Errors
    /// When an id was given to two disks, or a new one is not above all before it.
    pub fn see(&mut self, members: &BTreeMap<String, Member>) -> anyhow::Result<()> {
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

/// Waits until the Cluster has exactly `count` members, every one of them on a pod of its own.
///
/// # Errors
/// When it does not within two minutes.
pub async fn settled(scene: &Scene, count: usize) -> anyhow::Result<BTreeMap<String, Member>> {
    crate::wait::until("the members to settle", MINUTE * 2, || async {
        let found = members(scene).await.map_err(|e| e.to_string())?;
        if found.len() == count { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await?;
    scene.stable(&["tfc/main"], MINUTE * 3).await?;
    members(scene).await
}

/// How many groups a node has replicas of, by its own metrics.
///
/// # Errors
/// When its metrics cannot be read.
pub async fn groups_on(scene: &Scene, pod: &str) -> anyhow::Result<u64> {
    let endpoint = scene.endpoints().await?.remove(pod).context("no such pod")?;
    let page = endpoint.replace(":2113", ":9090/metrics");
    let text = Run::new("curl").args(["--silent", "--show-error", "--fail", &page]).output().await?;
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
        let mut ids = Ids::default();
        ids.see(&one("main-0", 1, "a")).unwrap();
        ids.see(&one("main-0", 1, "a")).unwrap();
        ids.see(&one("main-1", 3, "b")).unwrap();
        assert!(ids.see(&one("main-0", 1, "c")).is_err(), "one id, two disks");
        assert!(ids.see(&one("main-0", 2, "c")).is_err(), "an id below one that was given");
    }
}
