//! Accessors of [`NodeView`], the catalogue's entry of one node, whose node field is optional on the wire.

use taffrail_proto::{admin::NodeView, v1::NodeState};

/// Membership state; unspecified for a view without a node.
pub(super) fn state(node: &NodeView) -> NodeState {
    node.node.as_ref().map_or(NodeState::Unspecified, |n| n.state())
}

/// Node id; 0 for a view without a node.
pub(super) fn id(node: &NodeView) -> u64 {
    node.node.as_ref().map_or(0, |n| n.node_id)
}

/// Pod name; empty for a view without a node.
pub(super) fn name(node: &NodeView) -> &str {
    node.node.as_ref().map_or("", |n| n.name.as_str())
}
