//! [`Lane`]: the kinds of traffic between two nodes, each on a connection of its own.

/// A connection to a peer for one kind of traffic.
///
/// The receiver of an HTTP/2 connection grants one window to all streams of the connection. Streams that nobody reads,
/// such as the answers to a paused client, use up the window, and then no other answer on the connection arrives. A
/// heartbeat therefore never shares a connection with data of clients or with a copy of state. A node opens three
/// connections to each peer, the same for any number of groups and clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Votes, heartbeats, entries of the log, and the requests between nodes. The reachability of a peer is the
    /// state of this lane.
    Control,
    /// Copies of state to replicas that catch up.
    Bulk,
    /// Calls of clients, forwarded to the node that can answer.
    Client,
}

impl Lane {
    /// All lanes between two nodes.
    pub const ALL: [Self; 3] = [Self::Control, Self::Bulk, Self::Client];

    /// True if every answer on the lane is read at once, so an answer that is late means a peer that does not answer.
    /// On the other lanes an answer may wait behind streams that nobody reads, and only the pings of HTTP/2, which pass
    /// every window, show that the peer is lost.
    pub(super) fn answers_at_once(self) -> bool {
        self == Self::Control
    }
}
