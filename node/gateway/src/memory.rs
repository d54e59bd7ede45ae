//! [`CallMemory`], the bounds of a node on the memory of calls: requests until the outcome, and answers until sent.

use super::{inflow::BoundInflow, outflow::BoundOutflow};

/// The memory of all calls of a node. Clones share the bounds, so all ports of a node count against the same bounds.
#[derive(Clone, Debug)]
pub struct CallMemory {
    pub(crate) requests: BoundInflow,
    pub(crate) answers: BoundOutflow,
}

impl CallMemory {
    /// Bounds the requests in progress to `request_bytes_max` bytes and the answers under way to `answer_bytes_max` bytes.
    #[must_use]
    pub fn new(request_bytes_max: usize, answer_bytes_max: usize) -> Self {
        Self { requests: BoundInflow::new(request_bytes_max), answers: BoundOutflow::new(answer_bytes_max) }
    }

    /// Returns the bytes of the requests in progress, queued appends of cancelled calls included.
    #[must_use]
    pub fn request_bytes(&self) -> usize {
        self.requests.used()
    }

    /// Returns the bytes of the answers under way.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.answers.used()
    }
}
