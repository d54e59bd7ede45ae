//! Ids in requests.

use taffrail_core::ids::NodeId;
use tonic::Status;

/// The UUID in a field of a request.
pub(super) fn uuid(field: &'static str, text: &str) -> Result<uuid::Uuid, Status> {
    uuid::Uuid::parse_str(text).map_err(|_| Status::invalid_argument(format!("{field}: must be a UUID, is {text:?}")))
}

/// The node id of a request.
pub(super) fn node(id: u64) -> Result<NodeId, Status> {
    if id == 0 { Err(Status::invalid_argument("node_id: must not be 0")) } else { Ok(NodeId::new(id)) }
}
