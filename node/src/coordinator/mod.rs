//! The coordinator: the task on the leader of the system group that drives every group towards the catalogue.
//!
//! The coordinator is level-triggered. A pass polls the nodes ([`observe`], [`reports`]), plans ([`taffrail_core::plan`],
//! pure; settled groups without a changed report are left out), publishes the observation ([`view`]), and starts the fences
//! and planned actions ([`act`]), which a pass does not wait for.
//!
//! The timers of observations, the confirmed origins of copies ([`ClusterObservation::settle`]), the reports of the nodes and
//! the actions in progress survive a pass. A new coordinator starts from zero.

pub mod act;
pub mod observe;
pub mod reports;
pub mod view;

use crate::member::member::Member;
use act::Actions;
use reports::Reports;
use std::{sync::Arc, time::Duration};
use taffrail_core::plan::{ClusterObservation, Planner, clocks};
use taffrail_runtime::failpoint;

/// Pause between two passes while a change is planned, awaited or not settled.
const BUSY: Duration = Duration::from_millis(100);
/// Pause between two passes while no change is in progress.
const QUIET: Duration = Duration::from_millis(500);

/// Runs passes whenever this node leads the system group, until the member stops.
pub async fn run(member: Arc<Member>) {
    let mut catalogue = member.catalogue.clone();
    let mut leadership = member.system.watch();
    let mut previous: Option<ClusterObservation> = None;
    let mut reports = Reports::default();
    let mut actions = Actions::default();
    let mut planner = Planner::default();
    loop {
        let mut pause = QUIET;
        if member.system.leads() {
            let before = previous.take().unwrap_or_default();
            let (observed, busy) = pass(&member, before, &mut reports, &mut planner, &mut actions).await;
            previous = Some(observed);
            actions.idle(BUSY).await;
            if busy || actions.busy() {
                pause = BUSY;
            }
        } else {
            previous = None;
            reports = Reports::default();
            planner = Planner::default();
            actions.end().await;
            member.view.send_if_modified(|view| view.take().is_some());
            member.clocks.forget();
        }
        tokio::select! {
            biased;
            () = member.parts.stop.cancelled() => break,
            changed = catalogue.changed(), if !actions.proposing() => if changed.is_err() { break },
            alive = member.system.changed(&mut leadership), if !member.system.leads() => if !alive { break },
            () = member.look.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    actions.end().await;
}

/// Runs a pass. Returns the observation, and whether the next pass should follow soon.
async fn pass(
    member: &Arc<Member>,
    previous: ClusterObservation,
    reports: &mut Reports,
    planner: &mut Planner,
    actions: &mut Actions,
) -> (ClusterObservation, bool) {
    failpoint::panic_at("coordinator-pass");
    member.passes.send_modify(|(begun, _)| *begun += 1);
    // Only a leader confirmed by a majority may make decisions.
    if member.system.lead_read_index().await.is_err() {
        return (previous, true);
    }
    observe::poll(member, reports).await;
    let catalogue = member.applied();
    let mut observed = observe::observed(member, &catalogue, reports);
    observed.changed = Some(reports.take_changed());
    observed.settle(&catalogue, &previous);
    let plan = planner.plan(&catalogue, &observed);
    let clocks = clocks::problems(&catalogue, &observed);
    view::publish(member, &catalogue, &observed, &plan, reports, &clocks);
    member.clocks.observe(clocks, &observed);
    member.passes.send_modify(|(begun, published)| *published = *begun);
    let busy = !plan.fences.is_empty()
        || !plan.actions.is_empty()
        || !plan.waiting.is_empty()
        || view::settling(&catalogue, &observed);
    actions.start(member, plan.fences, plan.actions);
    (observed, busy)
}
