//! Distributes deaths over runs. A run has one death per phase; a death is repeated in another run when the phase does
//! not reach the fault point because of the death in an earlier phase.

use super::script::{self, Done, Faults, PHASES};
use crate::harness::points::{Fault, Reached};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};
use tokio::task::JoinSet;

/// Concurrent runs; a run mostly waits for replicas to stay caught up.
const AT_ONCE: usize = 4;
/// Attempts for a death. A run may not reach a write of the run without deaths, because a death in an earlier phase moved a
/// leadership or let another node make the write; each attempt combines other deaths.
const TRIES_MAX: usize = 4;

/// Runs the chosen deaths and checks that all of them happen.
pub(crate) async fn some_writes<const N: usize>(calm: Rc<Done>, choice: [Faults; N]) {
    let mut runs = JoinSet::new();
    for (n, faults) in choice.into_iter().enumerate() {
        let calm = Rc::clone(&calm);
        runs.spawn_local(async move {
            let label = format!("choice-{n}");
            for ((phase, died), fault) in PHASES.iter().zip(one(&label, &calm, &faults).await.died).zip(&faults) {
                assert_eq!(died, fault.is_some(), "{label}: deaths in {phase:?}: {fault:?}");
            }
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

/// Runs with deaths, and checks that the end is that of the run without deaths.
async fn one(label: &str, calm: &Done, faults: &Faults) -> Done {
    let done = script::run(label, faults).await;
    assert_eq!(done.end, calm.end, "{label}: {faults:?}");
    done
}

/// A planned death and the number of the attempt.
struct Try {
    fault: Fault,
    time: usize,
}

/// Deaths that are still to be tried, by phase, and the results so far.
struct Sweep {
    waiting: [VecDeque<Try>; PHASES.len()],
    runs: usize,
    deaths: BTreeMap<String, usize>,
    missed: Vec<String>,
}

impl Sweep {
    fn new(calm: &Done) -> Self {
        let waiting = std::array::from_fn(|phase| {
            let all = calm.reached[phase].all();
            all.map(|fault| Try { fault, time: 1 }).collect()
        });
        Self { waiting, runs: 0, deaths: BTreeMap::new(), missed: Vec::new() }
    }

    /// The deaths of the next run: one of each phase with deaths left.
    fn take(&mut self) -> Option<(String, [Option<Try>; PHASES.len()])> {
        let next: [Option<Try>; PHASES.len()] = std::array::from_fn(|phase| self.waiting[phase].pop_front());
        if next.iter().all(Option::is_none) {
            return None;
        }
        self.runs += 1;
        Some((format!("sweep-{}", self.runs), next))
    }

    fn note(&mut self, label: &str, tried: [Option<Try>; PHASES.len()], done: &Done) {
        let mut deaths = Vec::new();
        for (phase, tried) in tried.into_iter().enumerate() {
            let Some(Try { fault, time }) = tried else { continue };
            let what = format!("{:?} {}:{}", PHASES[phase], fault.point, fault.n);
            if done.died[phase] {
                *self.deaths.entry(fault.point).or_default() += 1;
                deaths.push(what);
            } else if time == TRIES_MAX {
                self.missed.push(what);
            } else {
                self.waiting[phase].push_back(Try { fault, time: time + 1 });
            }
        }
        println!("{label}: {}", deaths.join(", "));
    }
}

/// Covers every arrival at every fault point of the run without deaths.
pub(crate) async fn every_write(calm: Rc<Done>) {
    let wanted: usize = calm.reached.iter().map(|reached| reached.all().count()).sum();
    let sweep = Rc::new(RefCell::new(Sweep::new(&calm)));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (calm, sweep) = (Rc::clone(&calm), Rc::clone(&sweep));
        workers.spawn_local(async move {
            loop {
                let next = sweep.borrow_mut().take();
                let Some((label, tried)) = next else { return };
                let faults = std::array::from_fn(|phase| tried[phase].as_ref().map(|t| t.fault.clone()));
                let done = one(&label, &calm, &faults).await;
                sweep.borrow_mut().note(&label, tried, &done);
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    let sweep = sweep.borrow();
    for (point, deaths) in &sweep.deaths {
        println!("{point}: {deaths} deaths");
    }
    let deaths: usize = sweep.deaths.values().sum();
    println!("{deaths} deaths of {wanted} writes in {} runs; not come to again: {:?}", sweep.runs, sweep.missed);
    assert!(sweep.missed.is_empty() && deaths == wanted, "missed {:?}", sweep.missed);
    for point in calm.reached.iter().flat_map(Reached::points) {
        assert!(sweep.deaths.contains_key(point), "{point}: no process died at this fault point");
    }
}
