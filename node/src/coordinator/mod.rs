//! The coordinator: the part of the system group's leader that drives every group towards the catalogue. Level-triggered:
//! poll the nodes, plan (pure, in core), fence who is odd, act, show. Nothing is remembered between two passes but since when
//! replicas have been close to their leaders, nodes silent, and where replicas were fenced within the hour; another
//! coordinator begins all of that anew.

pub mod act;
pub mod observe;
pub mod view;

use crate::member::member::Member;
use std::{sync::Arc, time::Duration};
use taffrail_core::plan::{self, ClusterObservation};

/// Between two passes while something is going on, and while nothing is.
const BUSY: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_millis(500);

/// Coordinates whenever this node leads the system group; ends with the member.
pub async fn run(member: Arc<Member>) {
    let mut catalogue = member.catalogue.clone();
    let mut leadership = member.system.watch();
    let mut previous: Option<ClusterObservation> = None;
    loop {
        let mut pause = QUIET;
        if member.system.leads() {
            let (observed, busy) = pass(&member, previous.take().unwrap_or_default()).await;
            previous = Some(observed);
            if busy {
                pause = BUSY;
            }
        } else {
            previous = None;
            member.view.send_if_modified(|view| view.take().is_some());
        }
        tokio::select! {
            biased;
            () = member.parts.stop.cancelled() => return,
            changed = catalogue.changed() => if changed.is_err() { return },
            alive = member.system.changed(&mut leadership), if !member.system.leads() => if !alive { return },
            () = member.look.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn pass(member: &Arc<Member>, previous: ClusterObservation) -> (ClusterObservation, bool) {
    member.passes.send_modify(|(begun, _)| *begun += 1);
    // Only a leader that a majority confirms may decide anything.
    if member.system.lead_read_index().await.is_err() {
        return (previous, true);
    }
    let polled = observe::poll(member).await;
    let catalogue = member.applied();
    let mut observed = observe::observed(member, &catalogue, &polled);
    observed.settle(&previous);
    let plan = plan::plan(&catalogue, &observed);
    view::publish(member, &catalogue, &observed, &plan, &polled);
    member.passes.send_modify(|(begun, published)| *published = *begun);
    let busy = !plan.fences.is_empty()
        || !plan.actions.is_empty()
        || !plan.waiting.is_empty()
        || view::settling(&catalogue, &observed);
    act::carry_out(member, plan.fences, plan.actions).await;
    (observed, busy)
}
