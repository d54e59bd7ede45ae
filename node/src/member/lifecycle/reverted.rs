//! State of a disk that went back to an earlier state: fenced, until the data may be retired.
//!
//! No replica starts, because votes and acknowledged entries are missing. The node asks the coordinator whether all groups
//! of the disk have a caught-up majority on other nodes. The data is then set aside, and the next start joins as a new node.

use super::{
    End,
    common::{Common, retry_pause},
};
use crate::{
    exit::Code,
    member::readiness::{REVERTED_TEXT, Readiness},
};
use taffrail_core::ids::NodeId;
use taffrail_proto::{admin::FenceCause, peer::register_response::Answer};
use taffrail_runtime as rt;

/// A disk with evidence of a return to an earlier state.
pub(super) struct Reverted {
    common: Common,
}

impl Reverted {
    /// Creates the state of a disk with synced evidence.
    pub(super) fn new(common: Common) -> Self {
        Self { common }
    }

    /// Stays fenced until the coordinator permits the retirement of the data. Returns the end of the process.
    pub(super) async fn run(mut self) -> End {
        let handles = &self.common.handles;
        handles.handler.fence(REVERTED_TEXT);
        let (cause, reason) = (FenceCause::IdentityReverted, REVERTED_TEXT.to_owned());
        handles.readiness.send_replace(Readiness::Fenced { cause, reason });
        self.common.publish_reverted();
        loop {
            match self.common.register(true).await {
                Ok(response) => match response.answer() {
                    Answer::Drained | Answer::ForcedWhole => return self.retire(NodeId::new(response.node_id)),
                    Answer::Forced | Answer::Member | Answer::Unspecified => {}
                },
                Err(error) => tracing::debug!(%error, "the coordinator has not permitted the retirement of the data"),
            }
            retry_pause().await;
        }
    }

    /// Sets the data aside and gives the disk a new id. A disk that went back to a state before its registration gets the
    /// node id of the registration first.
    fn retire(&mut self, node: NodeId) -> End {
        let dir = &mut self.common.dir;
        let known = if dir.node().is_none() { dir.set_node(node) } else { Ok(()) };
        match known.and_then(|()| dir.retire(rt::new_uuid())) {
            Ok(()) => End {
                code: Code::Retired,
                why:
                    "the data of this disk, which went back to an earlier state, is retired; the next start joins as a \
                      new node"
                        .into(),
            },
            Err(error) => error.into(),
        }
    }
}
