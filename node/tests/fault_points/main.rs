//! The coordinator dies at each write that it makes, before and after it, in every phase of a cluster's life: the end is
//! the same as if it had not. Real processes on loopback, restarted by a supervisor as the kubelet does, driven through
//! the admin service as the operator does. Needs no Kubernetes.
//!
//! One run has six phases (`script::PHASES`). In each of them one process dies, at the n-th write of the phase, counted
//! over all processes; the phase must settle before the next begins. By default a spread of writes;
//! `TAFFRAIL_ALL_FAULT_POINTS=1` takes each write.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as it must be, and is no part of a simulation"
)]

mod cluster;
mod disks;
mod events;
mod points;
mod process;
mod script;
#[path = "../shared/mod.rs"]
mod shared;

use points::{Fault, POINTS};
use script::{Done, PHASES};
use std::sync::Arc;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet},
};

/// Runs at the same time: most of a run is waiting for replicas to have been caught up for a while.
const AT_ONCE: usize = 3;
/// No phase makes more writes than this.
const WRITES_MAX: u64 = 60;

#[tokio::test]
async fn a_coordinator_that_dies_at_any_write_leads_to_the_same_end() {
    LocalSet::new().run_until(all()).await;
}

async fn all() {
    let calm = script::run("calm", &[None; PHASES.len()]).await;
    assert!(calm.died.iter().all(|died| !died), "somebody died without a fault");
    for (phase, reached) in PHASES.iter().zip(&calm.reached) {
        println!("{phase:?}: {reached}");
        assert!(reached.total() > 0, "{phase:?}: the coordinator has written nothing");
    }
    let calm = Arc::new(calm);
    if std::env::var_os("TAFFRAIL_ALL_FAULT_POINTS").is_some() { every_write(calm).await } else { a_spread(calm).await }
}

/// Two runs with a death in each phase: early in it with one set of points, in its middle with the others.
async fn a_spread(calm: Arc<Done>) {
    let mut runs = JoinSet::new();
    for turn in 0..2 {
        let faults: [Option<Fault>; PHASES.len()] = std::array::from_fn(|phase| {
            let writes = &calm.reached[phase];
            // The points that this phase has, in turn, so that both runs together come to all four of them.
            let there: Vec<&'static str> = POINTS.into_iter().filter(|point| writes.of(point) > 0).collect();
            let point = there[(phase + turn * 3) % there.len()];
            Some(Fault { point, n: if turn == 0 { 1 } else { writes.of(point).div_ceil(2) } })
        });
        let calm = Arc::clone(&calm);
        runs.spawn_local(async move {
            let done = script::run(&format!("spread-{turn}"), &faults).await;
            for (phase, died) in PHASES.iter().zip(&done.died) {
                assert!(died, "spread-{turn}: nobody died in {phase:?}: {faults:?}");
            }
            assert_eq!(done.end, calm.end, "spread-{turn}: {faults:?}");
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

/// Every point, n = 1, 2, ... until no phase has an n-th write any more.
async fn every_write(calm: Arc<Done>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut sweeps = JoinSet::new();
    for point in POINTS {
        let (calm, slots) = (Arc::clone(&calm), Arc::clone(&slots));
        sweeps.spawn_local(async move {
            let mut deaths = 0;
            for n in 1..=WRITES_MAX {
                let slot = slots.acquire().await.unwrap();
                let label = format!("{point}-{n}");
                let done = script::run(&label, &[Some(Fault { point, n }); PHASES.len()]).await;
                drop(slot);
                let died: Vec<_> = PHASES.iter().zip(&done.died).filter(|(_, died)| **died).map(|(p, _)| p).collect();
                println!("{label}: died in {died:?}");
                assert_eq!(done.end, calm.end, "{label}: died in {died:?}");
                deaths += died.len();
                if died.is_empty() {
                    return (point, n - 1, deaths);
                }
            }
            panic!("{point}: still writes after {WRITES_MAX}");
        });
    }
    while let Some(swept) = sweeps.join_next().await {
        let (point, last, deaths) = swept.unwrap();
        println!("{point}: {deaths} deaths, at most {last} in one phase");
        // In each phase that comes to the point at all, at least its first write was one.
        let phases = calm.reached.iter().filter(|reached| reached.of(point) > 0).count();
        assert!(deaths >= phases, "{point}: {deaths} deaths in {phases} phases");
    }
}
