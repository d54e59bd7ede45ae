//! Whole nodes under faults: seeds pass all checks, and the expected faults and operations occur.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};
use taffrail_core::ids::NodeId;
use taffrail_node::member::member::Member;
use taffrail_proto::admin::Lifecycle;
use taffrail_sim::{
    admin::AdminPort, host::Hosts, layout::Layout, options::Options, planted_defect::PlantedDefect, power::search,
    run::run, seed_range::run_seeds, simulated::Cluster, world::World,
};
use tokio::sync::mpsc;

// As in the node: openraft allocates ring buffers in advance, and other allocators fill untouched buffers.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs seeds on all cores and returns all counts; panics with the commands that repeat the failing seeds.
fn hold(from: u64, seeds: u64, options: Options) -> BTreeMap<&'static str, u64> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let (mut failed, mut counts, mut hashes) = (Vec::new(), BTreeMap::new(), Vec::new());
    run_seeds(from, seeds, jobs, options, |report| {
        for (what, n) in &report.counts {
            *counts.entry(*what).or_default() += n;
        }
        hashes.push(report.hash.clone());
        if !report.failures.is_empty() {
            let (seed, stretch) = (report.seed, options.stretch);
            failed.push(format!("{report}\n  again: taffrail-sim --from {seed} --stretch {stretch} --trace"));
        }
    });
    assert!(failed.is_empty(), "{} of {seeds} seeds failed:\n{}", failed.len(), failed.join("\n"));
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, seeds, "different seeds must give different runs");
    counts
}

#[test]
fn fifty_clusters_hold_and_meet_every_fault_and_operation() {
    let counts = hold(130_050, 50, Options::default());
    let kinds = [
        "clusters formed",
        "crashes",
        "power cuts",
        "aimed crashes",
        "cuts",
        "one-way cuts",
        "slow disks",
        "nearly full disks",
        "appends refused for full disks",
        "weather changes",
        "bandwidth changes",
        "repeated frames",
        "hand-overs",
        "elections",
        "moves",
        "joint changes ended by another leader",
        "catch-ups",
        "reads",
        "unknown outcomes",
        "not proposed",
        "abandoned appends",
        "drains",
        "drains cancelled",
        "retired disks",
        "lost disks",
        "replaced nodes",
        "disks gone back",
        "reverted disks found",
        "reverted nodes replaced",
        "clocks far ahead",
        "grants",
        "stores deleted",
        "appends to short-lived stores",
        "writers of deleted stores",
        "lost races",
        "failing disks",
        "full disks",
        "failed writes of a log",
        "failed writes of a state",
        "ends after a failed write",
        "damaged blocks",
        "reads refused for damage",
        "frozen processes",
        "disks slow at a membership change",
        "unsynced writes lost",
        "truncations",
        "cold log reads",
        "replicas retired",
        "reads refused during an install",
        "start-overs",
        "diverged replicas",
        "failing reads",
        "damaged log entries",
        "damaged logs replaced",
        "replicas stopped by a failed read",
        "durable steps",
        "crashes right after a durable step",
        "groups stalled at a membership change",
        "appends stalled after an install",
        "catch-ups cut short",
        "crashes in a catch-up",
        "fenced replicas",
        "freed replicas",
        "stalled appends",
    ];
    for what in kinds {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "no {what} in fifty seeds: {counts:?}");
    }
}

/// Runs seeds with stretched times. The wait before another replica forms a group is not stretched, so the replica named by the
/// catalogue is often down for longer than the wait.
#[test]
fn stretched_clusters_hold_and_other_replicas_form_groups() {
    let counts = hold(506, 6, Options { stretch: 16, ..Options::default() });
    let formed = counts.get("groups formed by another replica");
    assert!(formed.is_some_and(|n| *n > 0), "each group is formed by the named replica: {counts:?}");
}

/// The failures of the first seed that finds the planted defect.
fn found(plant: PlantedDefect, seeds: u64) -> Vec<String> {
    let options = Options { plant: Some(plant), ..Options::default() };
    let found = (0..seeds).map(|seed| run(seed, options).failures).find(|failures| !failures.is_empty());
    assert!(found.is_some(), "{plant:?} is not found in {seeds} seeds");
    found.unwrap_or_default()
}

fn assert_says(failures: &[String], what: &str) {
    assert!(failures.iter().any(|f| f.contains(what)), "none of the failures says {what:?}: {failures:?}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    // In other seeds two replicas apply different entries, which another check finds.
    let options = Options { plant: Some(PlantedDefect::AckBeforeSync), ..Options::default() };
    let says = |seed| run(seed, options).failures.iter().any(|f| f.contains("no majority of"));
    let seed = (0..20).find(|seed| says(*seed)).expect("no seed says that a majority lacks an entry");
    assert_eq!(run(seed, Options::default()).failures, [""; 0], "the seed must hold without the defect");
}

#[test]
fn a_vote_before_the_sync_is_found() {
    assert_says(&found(PlantedDefect::VoteBeforeSync, 5), "granted vote");
}

#[test]
fn an_answer_without_delivery_is_found() {
    let failures = found(PlantedDefect::ForgedAnswer, 5);
    // Consensus itself may notice first that a follower lacks an entry that it has confirmed.
    let noticed = failures.iter().any(|f| f.contains("log reversion"));
    assert!(noticed || failures.iter().any(|f| f.contains("no majority of")), "{failures:?}");
}

#[test]
fn a_hole_in_the_log_after_a_crash_is_found() {
    found(PlantedDefect::ReorderedWrites, 40);
}

#[test]
fn a_replica_that_applies_something_else_is_found() {
    assert_says(&found(PlantedDefect::OneAppliesDifferently, 5), "has another digest than others");
}

#[test]
fn a_retry_under_new_ids_is_found() {
    assert_says(&found(PlantedDefect::FreshIdsOnRetry, 20), "is refused");
}

/// Forms a cluster of a single node, whose system replica then stops as after a panic of its consensus task.
async fn coordinator_without_a_system_group() -> Vec<String> {
    let world = World::new(1, Options::default());
    let (crash, _wishes) = mpsc::channel(1);
    world.begin_calm();
    let hosts = Hosts::new(&world, Layout::draw(&world), &crash).unwrap();
    let cluster = Arc::new(Cluster::new(Arc::clone(&world), hosts));
    let host = Arc::clone(&cluster.hosts.all()[0]);
    host.start();
    let member = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(member) = host.member().filter(|member| member.system.leads()) {
            break member;
        }
        let mut port = AdminPort::of(&cluster, host.number);
        let status = port.status().await;
        if let Some(blank) = status.ok().filter(|status| status.lifecycle() == Lifecycle::Blank) {
            drop(port.bootstrap(world.cluster.to_string(), blank.disk_id).await);
        }
    };
    assert_eq!(world.failures(), [""; 0]);
    let scope = Arc::clone(host.running().unwrap().scope());
    scope.run(async { member.system.stop().await }).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while world.failures().is_empty() && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(member);
    cluster.hosts.end();
    world.failures()
}

#[test]
fn a_run_fails_when_a_task_of_a_node_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let failures = runtime.block_on(coordinator_without_a_system_group());
    assert!(failures.iter().any(|why| why.contains("the task coordinator has ended")), "{failures:?}");
}

/// Searches a defect in the code of the node. The failing seed must hold without the defect.
fn assert_caught(plant: PlantedDefect, from: u64, seeds: u64) {
    let found = search(plant, from, seeds, 1, Options::default());
    assert!(found.is_ok(), "{plant:?}: {found:?}");
}

#[test]
fn a_planted_purge_before_the_flush_is_found() {
    assert_says(&found(PlantedDefect::PurgeBeforeFlush, 5), "but the state would restart at");
}

#[test]
fn a_planted_check_of_the_revision_before_the_proposal_alone_is_found() {
    assert_says(&found(PlantedDefect::RevisionCheckedByGateway, 5), "is stored as");
}

#[test]
fn a_planted_cache_that_decides_about_repeats_is_found() {
    assert_caught(PlantedDefect::CacheDecidesRepeats, 0, 10);
}

#[test]
fn a_planted_read_without_a_read_index_is_found() {
    assert_caught(PlantedDefect::NoReadIndex, 0, 5);
}

#[test]
fn a_planted_acknowledgement_before_a_majority_is_found() {
    assert_caught(PlantedDefect::AckBeforeMajority, 0, 5);
}

#[test]
fn a_planted_skip_of_the_checksum_is_found() {
    assert_caught(PlantedDefect::SkippedChecksum, 40, 40);
}

#[test]
fn a_planted_success_of_a_failed_sync_is_found() {
    assert_caught(PlantedDefect::SwallowedSyncError, 0, 40);
}

#[test]
fn a_planted_retirement_under_an_uncommitted_membership_is_found() {
    assert_caught(PlantedDefect::EarlyRetire, 0, 40);
}

#[test]
fn a_planted_second_use_of_a_replica_id_is_found() {
    assert_caught(PlantedDefect::ReusedReplicaId, 0, 40);
}

#[test]
fn a_planted_snapshot_beyond_the_applied_entries_is_found() {
    assert_caught(PlantedDefect::UnclampedSnapshot, 36, 14);
}

#[test]
fn a_planted_trust_in_a_disk_that_went_back_is_found() {
    assert_caught(PlantedDefect::TrustedDisks, 0, 40);
}

/// Asks a blank node to bootstrap or to join, until the node is a member.
async fn admit(cluster: &Arc<Cluster>, host: NodeId) -> Arc<Member> {
    let id = cluster.world.cluster.to_string();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(member) = cluster.hosts.get(host).and_then(|host| host.member()) {
            return member;
        }
        let mut port = AdminPort::of(cluster, host);
        let status = port.status().await;
        if let Some(blank) = status.ok().filter(|status| status.lifecycle() == Lifecycle::Blank) {
            let disk = blank.disk_id;
            let first = host == NodeId::new(1);
            drop(if first { port.bootstrap(id.clone(), disk).await } else { port.join(id.clone(), disk).await });
        }
    }
}

/// Forms a cluster of three nodes; the clock of the first node, the coordinator, is ahead of the others by `ahead`. Returns the
/// host of the coordinator and the reasons of the problems after `patience` of simulated time at most.
async fn coordinator_with_clock_ahead(ahead: Duration, patience: Duration) -> (Option<NodeId>, Vec<String>) {
    let world = World::new(1, Options::default());
    let (crash, _wishes) = mpsc::channel(1);
    world.begin_calm();
    let layout = Layout { hosts: 3, stores: Vec::new(), large_events: false };
    let hosts = Hosts::new(&world, layout, &crash).unwrap();
    world.network.name_hosts(hosts.all().iter().map(|host| host.number));
    let cluster = Arc::new(Cluster::new(Arc::clone(&world), hosts));
    for host in cluster.hosts.all() {
        host.set_clock_ahead(if host.number == NodeId::new(1) { ahead } else { Duration::ZERO });
        host.start();
    }
    let first = admit(&cluster, NodeId::new(1)).await;
    while !first.system.leads() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for host in [2, 3].map(NodeId::new) {
        admit(&cluster, host).await;
    }
    let end = tokio::time::Instant::now() + patience;
    let leader = || cluster.hosts.all().iter().find(|h| h.member().is_some_and(|m| m.system.leads())).map(|h| h.number);
    let problems = || {
        let view = cluster.hosts.coordinator().and_then(|member| member.view.borrow().clone());
        let status = view.and_then(|view| view.status.clone());
        status.map(|status| status.problems.into_iter().map(|p| p.reason).collect::<Vec<_>>()).unwrap_or_default()
    };
    while tokio::time::Instant::now() < end && (leader() == Some(NodeId::new(1)) || problems().is_empty()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = (leader(), problems());
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    drop(first);
    cluster.hosts.end();
    found
}

fn with_clock_ahead(ahead: Duration) -> (Option<NodeId>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(coordinator_with_clock_ahead(ahead, Duration::from_secs(120)))
}

#[test]
fn a_coordinator_whose_clock_is_an_hour_ahead_hands_its_leadership_over() {
    let (leader, problems) = with_clock_ahead(Duration::from_secs(3600));
    assert!(leader.is_some_and(|host| host != NodeId::new(1)), "host {leader:?} leads");
    assert!(problems.contains(&"ClockSkew".to_owned()), "{problems:?}");
}

#[test]
fn a_clock_half_a_minute_ahead_is_reported_and_moves_no_leadership() {
    let (leader, problems) = with_clock_ahead(Duration::from_secs(30));
    assert_eq!(leader, Some(NodeId::new(1)));
    assert!(problems.contains(&"ClockSkew".to_owned()), "{problems:?}");
}
