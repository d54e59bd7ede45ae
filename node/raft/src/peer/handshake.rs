//! Handshakes: each side of a connection checks the identity of the other side, and whether the disk of the other side
//! went back to an earlier state.

use super::{dispatch::Handler, server::check_identity};
use taffrail_proto::peer::{HandshakeResponse, Identity};

/// Checks the answer of a peer to a handshake, and returns the identity of the verified peer. If the peer refuses this
/// node because the disk of this node went back, the handler receives the evidence.
///
/// # Errors
/// The reason why the connection must not be used, as a sentence.
pub async fn verify(handler: &dyn Handler, own: &Identity, answer: HandshakeResponse) -> Result<Identity, String> {
    let Some(peer) = answer.from else {
        return Err("the peer answered the handshake without an identity".into());
    };
    check_identity(own, &peer)?;
    if let Some(evidence) = answer.reverted {
        handler.accused(&peer, &evidence);
        return Err("the peer refuses this node: the disk of this node went back to an earlier state".into());
    }
    match handler.meet(&peer).await {
        Ok(()) => Ok(peer),
        Err(_) => Err("the disk of the peer went back to an earlier state".into()),
    }
}
