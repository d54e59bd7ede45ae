//! Second state of the lifecycle: a disk with a cluster and without a node id.

use super::{
    End,
    common::{Common, retry_pause},
    failed,
    member::Serving,
};
use crate::{exit::Code, member::readiness::Readiness};
use taffrail_core::ids::{ClusterId, NodeId};
use taffrail_proto::peer::register_response::Answer;
use taffrail_runtime as rt;

/// A disk with a cluster, without a node id. Registers at peers to get the id.
pub(super) struct Joining {
    common: Common,
    cluster: ClusterId,
}

impl Joining {
    /// Creates the state of a disk of `cluster`.
    pub(super) fn new(common: Common, cluster: ClusterId) -> Self {
        Self { common, cluster }
    }

    /// Registers at any peer until a peer answers with the node id.
    pub(super) async fn run(mut self) -> Result<Serving, End> {
        self.common.publish_identity();
        self.common.handles.readiness.send_replace(Readiness::Joining);
        loop {
            match self.common.register(false).await {
                Ok(response) if response.answer() == Answer::Member => {
                    let node = NodeId::new(response.node_id);
                    self.common.dir.set_node(node)?;
                    return Ok(Serving::new(self.common, self.cluster, node));
                }
                Ok(response) if matches!(response.answer(), Answer::Drained | Answer::ForcedWhole) => {
                    return Err(self.retire(NodeId::new(response.node_id)));
                }
                Ok(response) => {
                    let answer = response.answer();
                    return Err(failed(format!("unexpected registration answer for a new disk: {answer:?}")));
                }
                Err(error) => tracing::debug!(%error, "no peer has registered this disk yet"),
            }
            retry_pause().await;
        }
    }

    /// Gives the disk a new id. An earlier registration was recorded, its answer was lost, and the node was removed before
    /// the disk learned the node id. The disk holds no replica, because a node without an id starts none.
    fn retire(&mut self, removed: NodeId) -> End {
        let retired = self.common.dir.set_node(removed).and_then(|()| self.common.dir.retire(rt::new_uuid()));
        match retired {
            Ok(()) => End {
                code: Code::Retired,
                why: format!(
                    "this disk was removed as node {removed} before it joined; the next start joins as a new node"
                ),
            },
            Err(error) => error.into(),
        }
    }
}
