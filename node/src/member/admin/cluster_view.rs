//! [`ClusterView`]: the coordinator's observation of the cluster.

use crate::member::member::Member;
use futures::Stream;
use std::{pin::Pin, sync::Arc, time::Duration};
use taffrail_core::{catalogue::Catalogue, ids::NodeId};
use taffrail_proto::admin::{ClusterView, NodeView};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Time limit for a coordinator pass.
const PASS_MAX: Duration = Duration::from_secs(3);

/// A stream of views.
pub(super) type Views = Pin<Box<dyn Stream<Item = Result<ClusterView, Status>> + Send>>;

/// Waits for a new pass of the coordinator and returns the view of this pass.
pub(in crate::member) async fn fresh(member: &Arc<Member>) -> Result<ClusterView, Status> {
    let mut passes = member.passes.subscribe();
    let (begun, _) = *passes.borrow();
    member.look.notify_one();
    let published = passes.wait_for(|(_, published)| *published > begun);
    match tokio::time::timeout(PASS_MAX, published).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err(Status::unavailable("this node is stopping")),
        Err(_) => {
            return Err(Status::unavailable(
                "this node could not confirm in time that this node is the coordinator; retry",
            ));
        }
    }
    let view = member.view.subscribe();
    let now = view.borrow().clone();
    now.map(|v| with_time_left(member, &v)).ok_or_else(|| Status::unavailable("this node is not the coordinator"))
}

/// The current view and each changed view, until another node coordinates.
pub(super) fn watch(member: Arc<Member>) -> Views {
    let (tx, rx) = mpsc::channel(1);
    rt::spawn_task("cluster view", TaskKind::Call, async move {
        let mut view = member.view.subscribe();
        loop {
            let now = view.borrow_and_update().clone();
            match now {
                Some(now) => {
                    let sent = tx.send(Ok(with_time_left(&member, &now))).await;
                    if sent.is_err() {
                        return;
                    }
                }
                None if !member.system.leads() => {
                    // The receiver may be closed already; then nobody needs the error.
                    let _gone = tx.send(Err(Status::unavailable("the coordinator has changed"))).await;
                    return;
                }
                None => {}
            }
            tokio::select! {
                biased;
                () = member.parts.stop.cancelled() => return,
                () = tx.closed() => return,
                changed = view.changed() => if changed.is_err() { return },
            }
        }
    });
    Box::pin(ReceiverStream::new(rx))
}

/// Returns the view of a node; `None` for a removed or unknown node.
pub(super) fn of_node(view: &ClusterView, id: NodeId) -> Option<&NodeView> {
    view.nodes.iter().find(|n| n.node.as_ref().is_some_and(|n| n.node_id == id.get()))
}

/// The view with the remaining time of grants. The published view omits the time, which changes continuously.
fn with_time_left(member: &Member, view: &ClusterView) -> ClusterView {
    let mut view = view.clone();
    set_time_left(&mut view, &member.applied(), rt::now_us());
    view
}

fn set_time_left(view: &mut ClusterView, catalogue: &Catalogue, now_us: u64) {
    // The clock of the catalogue may be ahead of the local clock; the later of the two decides when a grant expires.
    let now_us = now_us.max(catalogue.clock_us);
    for grant in &mut view.grants {
        let live = catalogue.live_grant(now_us).filter(|g| g.node.get() == grant.node_id && g.holder == grant.holder);
        grant.expires_in_ms =
            live.map_or(0, |g| i64::try_from(g.until_us.saturating_sub(now_us).div_ceil(1_000)).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::catalogue::Grant;
    use taffrail_proto::admin as pb;

    #[test]
    fn a_grant_shows_the_time_it_has_left() {
        let grant = Grant { node: NodeId::new(2), holder: "o".into(), until_us: 61_000_000 };
        let mut catalogue = Catalogue { clock_us: 1_000_000, grant: Some(grant), ..Catalogue::default() };
        let shown = |node_id| pb::Grant { node_id, holder: "o".into(), expires_in_ms: 0 };
        let left = |catalogue: &Catalogue, now_us: u64| {
            let mut view = ClusterView { grants: vec![shown(2), shown(3)], ..ClusterView::default() };
            set_time_left(&mut view, catalogue, now_us);
            view.grants.iter().map(|g| g.expires_in_ms).collect::<Vec<_>>()
        };
        assert_eq!(left(&catalogue, 1_000_000), [60_000, 0], "and another node's is not ours");
        assert_eq!(left(&catalogue, 31_000_000), [30_000, 0]);
        assert_eq!(left(&catalogue, 60_999_999), [1, 0], "never 0 while it is live");
        assert_eq!(left(&catalogue, 61_000_000), [0, 0]);
        catalogue.clock_us = 41_000_000;
        assert_eq!(left(&catalogue, 0), [20_000, 0], "by the clock of the catalogue if that is later");
    }
}
