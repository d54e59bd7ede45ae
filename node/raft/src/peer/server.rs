//! The peer service on port 2114: verifies the caller, checks that a frame is meant for this node, joins the pieces of a
//! large request, and passes the request to the [`Handler`].

use super::{
    Request,
    dispatch::{Handler, refusal},
    pieces::Assembly,
};
use futures::Stream;
use std::{pin::Pin, sync::Arc};
use taffrail_core::ids::{GroupId, NodeId, ReplicaId};
use taffrail_proto::peer::{
    CatchUpChunk, CatchUpRequest, Frame, FrameKind, HandshakeRequest, HandshakeResponse, Identity, Refusal,
    RefusalKind, peer_server::Peer,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Response, Status};

/// Version of the peer protocol.
pub const PROTOCOL: u32 = 1;
/// Lineage of every cluster, until a release can rebuild the system group from a survivor.
pub const LINEAGE: u64 = 0;

/// The gRPC service for frames, handshakes and state streams.
pub struct Service {
    handler: Arc<dyn Handler>,
    assembly: Assembly,
}

impl Service {
    /// Makes a service with `handler` as receiver of requests.
    #[must_use]
    pub fn new(handler: Arc<dyn Handler>) -> Self {
        Self { handler, assembly: Assembly::default() }
    }

    /// Answers a request. A piece of a request gets an empty answer, and the last piece the answer to the request.
    async fn handle(&self, from: NodeId, request: Request) -> Result<bytes::Bytes, Refusal> {
        let request = if request.kind == FrameKind::Piece {
            match self.assembly.take(from, &request)? {
                Some(whole) => whole,
                None => return Ok(bytes::Bytes::new()),
            }
        } else {
            request
        };
        self.handler.handle(from, request).await
    }
}

/// Checks that two nodes speak the same protocol, belong to the same cluster, and have distinct disk ids and node ids.
///
/// # Errors
/// Returns the reason of the first mismatch.
pub(crate) fn check_identity(own: &Identity, other: &Identity) -> Result<(), String> {
    if other.protocol != PROTOCOL {
        return Err(format!(
            "peer speaks protocol version {}, this node version {PROTOCOL}; upgrade the older of the two nodes",
            other.protocol
        ));
    }
    if own.cluster_id != other.cluster_id {
        return Err("peer belongs to another cluster".into());
    }
    if own.lineage != other.lineage {
        return Err(format!(
            "peer belongs to lineage {} of the cluster, this node to lineage {}: one of the two was left out when the \
             system group was rebuilt",
            other.lineage, own.lineage
        ));
    }
    if own.disk_id == other.disk_id {
        return Err("peer has this node's own disk id: it is this node, or its volume was cloned".into());
    }
    if own.node_id != 0 && own.node_id == other.node_id {
        return Err(format!("peer claims this node's id {}", own.node_id));
    }
    Ok(())
}

/// Checks the destination of a frame: this node in this cluster. A joining node has no id yet and may only register.
fn admit(own: Option<&Identity>, frame: &Frame) -> Result<(), Refusal> {
    let Some(own) = own else {
        return Err(refusal(RefusalKind::Unavailable, "this node belongs to no cluster yet"));
    };
    if frame.cluster_id != own.cluster_id {
        return Err(refusal(RefusalKind::WrongCluster, "the frame belongs to another cluster"));
    }
    let registers = frame.kind() == FrameKind::Register;
    if !registers && (own.node_id == 0 || frame.to_node != own.node_id) {
        let message = format!("the frame is meant for node {}, this is node {}", frame.to_node, own.node_id);
        return Err(refusal(RefusalKind::WrongNode, message));
    }
    Ok(())
}

fn answer(asked: &Frame, payload: bytes::Bytes, refusal: Option<Refusal>) -> Response<Frame> {
    Response::new(Frame {
        kind: asked.kind,
        from_node: asked.to_node,
        to_node: asked.from_node,
        group: asked.group,
        from_replica: asked.to_replica,
        to_replica: asked.from_replica,
        cluster_id: asked.cluster_id.clone(),
        ttl_ms: 0,
        payload,
        refusal,
    })
}

#[tonic::async_trait]
impl Peer for Service {
    async fn handshake(
        &self,
        request: tonic::Request<HandshakeRequest>,
    ) -> Result<Response<HandshakeResponse>, Status> {
        let other = request
            .into_inner()
            .from
            .ok_or_else(|| Status::invalid_argument("HandshakeRequest: field from is missing"))?;
        let own = self.handler.identity().ok_or_else(|| Status::unavailable("this node belongs to no cluster yet"))?;
        check_identity(&own, &other).map_err(Status::failed_precondition)?;
        match self.handler.meet(&other).await {
            Ok(()) => {
                Ok(Response::new(HandshakeResponse { from: Some(own), peers: self.handler.peers(), reverted: None }))
            }
            Err(evidence) => {
                let (peers, reverted) = (Vec::new(), Some(evidence));
                Ok(Response::new(HandshakeResponse { from: Some(own), peers, reverted }))
            }
        }
    }

    async fn call(&self, request: tonic::Request<Frame>) -> Result<Response<Frame>, Status> {
        let frame = request.into_inner();
        if let Err(no) = admit(self.handler.identity().as_ref(), &frame) {
            return Ok(answer(&frame, bytes::Bytes::new(), Some(no)));
        }
        let request = Request {
            kind: frame.kind(),
            group: GroupId::new(frame.group),
            from_replica: ReplicaId::new(frame.from_replica),
            to_replica: ReplicaId::new(frame.to_replica),
            payload: frame.payload.clone(),
        };
        let (payload, no) = match self.handle(NodeId::new(frame.from_node), request).await {
            Ok(payload) => (payload, None),
            Err(no) => (bytes::Bytes::new(), Some(no)),
        };
        Ok(answer(&frame, payload, no))
    }

    type CatchUpStream = Pin<Box<dyn Stream<Item = Result<CatchUpChunk, Status>> + Send>>;

    async fn catch_up(&self, request: tonic::Request<CatchUpRequest>) -> Result<Response<Self::CatchUpStream>, Status> {
        let request = request.into_inner();
        let own = self.handler.identity().ok_or_else(|| Status::unavailable("this node belongs to no cluster yet"))?;
        if request.cluster_id != own.cluster_id || request.to_node != own.node_id {
            return Err(Status::failed_precondition("the request is meant for another node"));
        }
        let chunks = self.handler.catch_up(request).await.map_err(|no| Status::failed_precondition(no.message))?;
        let chunks = ReceiverStream::new(chunks).map(|c| c.map_err(|no| Status::aborted(no.message)));
        Ok(Response::new(Box::pin(chunks)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node_id: u64) -> Identity {
        let disk_id = node_id.to_be_bytes().to_vec().into();
        Identity { node_id, disk_id, protocol: PROTOCOL, lineage: LINEAGE, ..Identity::default() }
    }

    #[test]
    fn peers_of_another_lineage_are_refused() {
        let own = identity(1);
        assert_eq!(check_identity(&own, &identity(2)), Ok(()));
        for (own, other) in [
            (own.clone(), Identity { lineage: 1, ..identity(2) }),
            (Identity { lineage: 1, ..own.clone() }, identity(2)),
        ] {
            let why = check_identity(&own, &other).unwrap_err();
            assert!(why.contains("lineage"), "{why}");
        }
    }
}
