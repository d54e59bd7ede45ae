//! [`Call`], the store, deadline and id of a request, read before any other work. [`replica_lost`] and [`peer_lost`]
//! recognise the failures after which another replica can answer.

use super::{
    Shared,
    deadlines::{CallDeadline, MaybeProposed},
    forward, instrument,
    outflow::Answers,
    resolve::{self, Addressee},
    status::{Problem, Proof, Reason, proof},
};
use std::{sync::Arc, time::Duration};
use taffrail_core::{ids::StoreId, names::StoreName};
use taffrail_runtime as rt;
use taffrail_store_api::{ReadError, RequestMemory, StoreRef};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

/// Mean pause before the next attempt to find a replica; the real pause is random, at least half of the mean.
const REPLICA_PAUSE: Duration = Duration::from_millis(50);

/// The `:authority` of a request, the source of the store name for [`resolve`]. A request extension.
#[derive(Clone, Debug)]
pub(crate) struct Authority(pub(crate) String);

/// The store, deadline and id of a call.
pub(crate) struct Call {
    /// The addressed store.
    pub(crate) store: StoreName,
    /// Latest time for the answer of the service.
    pub(crate) deadline: Instant,
    /// True if the client set the deadline. Otherwise a stream may last for ever, and `deadline` bounds each step.
    pub(crate) deadline_asked: bool,
    /// Identifies the call in the logs of all nodes.
    pub(crate) request_id: String,
    /// Decides between `DEADLINE` and `OUTCOME_UNKNOWN` if the deadline passes before the answer is ready.
    pub(crate) maybe_proposed: MaybeProposed,
    /// Counts the request. A proposal keeps a clone, because the payload may outlive the call.
    pub(crate) memory: RequestMemory,
    /// Counts the pages of the answer.
    pub(crate) answers: Answers,
}

/// Reads the store, deadline and id of a request.
///
/// # Errors
/// When the request addresses no store, a name shared by several stores, or when the deadline has passed.
pub(crate) fn call<T>(shared: &Shared, request: &Request<T>) -> Result<Call, Problem> {
    let authority = request.extensions().get::<Authority>().map_or("", |a| &a.0);
    let addressee = resolve::addressee(&shared.config, request.metadata(), authority)?;
    let limit = CallDeadline::of(request.extensions());
    let deadline = limit.map_or_else(|| Instant::now() + shared.config.timeout, |limit| limit.answer_by);
    let (deadline_asked, maybe_proposed) =
        (limit.is_some(), limit.map(|limit| limit.maybe_proposed.clone()).unwrap_or_default());
    if deadline <= Instant::now() {
        return Err(Problem::new(Reason::Deadline, "the deadline passed before the call arrived"));
    }
    let request_id = forward::request_id(request.metadata());
    let store = match addressee {
        Addressee::Store(store) => store,
        Addressee::BareName(store) => {
            let stores_with_name = shared.node.stores_with_name(store.name());
            resolve::unambiguous(store, &stores_with_name)?
        }
    };
    instrument::record_store(&store);
    // Only a request that has not passed the layers is not counted.
    let memory = request.extensions().get::<RequestMemory>().cloned().unwrap_or_else(|| Arc::new(()));
    let answers = Answers::of(request.extensions());
    Ok(Call { store, deadline, deadline_asked, request_id, maybe_proposed, memory, answers })
}

/// Checks that this node is a member of a cluster. Any other node knows no store and no peer; an empty list would be
/// a wrong answer.
///
/// # Errors
/// `NOT_SERVING` before the node is a member.
pub(crate) fn member(shared: &Shared) -> Result<(), Problem> {
    let not_yet = || Problem::new(Reason::NotServing, "the node is not a member of a cluster yet");
    shared.node.node_id().map(drop).ok_or_else(not_yet)
}

/// Checks that a read or subscription stays with a single store: the store at the start, or else the first store to
/// answer. Revisions and positions of a store removed and created again under the same name mean other events.
///
/// # Errors
/// `STORE_CHANGED` for any other store.
pub(crate) fn same_store(expected: StoreId, found: &StoreRef) -> Result<(), Problem> {
    if expected == found.id {
        return Ok(());
    }
    let message = format!("the events belong to store {expected}, and {} is now store {}", found.name, found.id);
    Err(Problem::new(Reason::StoreChanged, message).with("store", &found.name).with("store_id", found.id))
}

/// True for an error of a local replica after which another replica can answer.
pub(crate) fn replica_lost(e: &ReadError) -> bool {
    match e {
        ReadError::NotServing(_) => true,
        ReadError::StreamNotFound(_)
        | ReadError::NoReadIndex(_)
        | ReadError::Deadline
        | ReadError::PositionAhead { .. }
        | ReadError::Corrupt(_)
        | ReadError::Storage(_) => false,
    }
}

/// Waits before the next attempt to find a replica that can answer. A pause, because no message tells this node when a
/// replica on another node becomes readable.
///
/// # Errors
/// When the deadline has passed.
pub(crate) async fn replica_pause(deadline: Instant) -> Result<(), Problem> {
    if Instant::now() >= deadline {
        return Err(Problem::new(Reason::NotServing, "no replica of the store answered within the deadline"));
    }
    tokio::time::sleep(REPLICA_PAUSE / 2 + rt::jitter(REPLICA_PAUSE)).await;
    Ok(())
}

/// True for a status of a peer after which another replica can answer: the peer stopped or the connection broke, as
/// opposed to a refusal of the request.
pub(crate) fn peer_lost(status: &Status) -> bool {
    match proof(status) {
        Proof::NotProposed => true,
        Proof::Final => false,
        Proof::Unknown => matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal),
    }
}
