//! `Cursor`, the resumable position of a read or subscription. A cursor reads pages from a replica of this node, gives the
//! start of a request to a peer, and moves past each delivered event. Any replica can therefore continue without gap
//! or duplicate event.

use super::{
    decode::{Selection, Source, Start},
    resume::{LINEAGE, ResumeToken, TokenOf},
};
use taffrail_core::{
    event::RecordedEvent,
    ids::{Position, Revision},
    names::StreamName,
    stream::visibility,
};
use taffrail_proto::v1::{self, start::Kind as StartKind};
use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReader};

/// Maximum size of a page, in events and bytes.
pub const PAGE: PageBounds = PageBounds { events_max: 256, bytes_max: 1 << 20 };

/// The position of a read or subscription.
///
/// `next` is the next revision or position to deliver. `None` is the end of the source: a backward read starts at the
/// last event; a forward read has an open end, fixed by [`resolve_open_end`](Self::resolve_open_end).
#[derive(Clone, Debug)]
pub(crate) enum Cursor {
    /// The events of a stream.
    Stream { name: StreamName, next: Option<Revision>, direction: Direction },
    /// All events of the store; without `system`, the events of the streams of the store itself are hidden.
    All { next: Option<Position>, direction: Direction, system: bool },
}

/// A page of events, hidden events included.
pub(crate) struct Events {
    pub(crate) events: Vec<RecordedEvent>,
    /// True if the replica has further events after this page.
    pub(crate) more: bool,
}

/// State of a replica at the start of a read.
#[derive(Clone, Copy)]
pub(crate) struct AsOf {
    /// Last position of the store.
    pub(crate) position: u64,
    /// Last revision of the stream; `None` for an absent stream, and for a cursor over all events.
    pub(crate) last_revision: Option<u64>,
}

impl Cursor {
    /// Creates a cursor at the start of `selection`.
    #[must_use]
    pub(crate) fn new(selection: Selection) -> Self {
        let direction = selection.direction;
        match selection.source {
            Source::Stream(name, start) => {
                let next = match start {
                    // A backward read from the beginning delivers the first event only.
                    Start::Beginning => Some(Revision::default()),
                    Start::End => None,
                    Start::At(r) => Some(r),
                };
                Self::Stream { name, next, direction }
            }
            Source::All(start) => {
                let next = match start {
                    Start::Beginning => Some(Position::new(1).unwrap_or_default()),
                    Start::End => None,
                    Start::At(p) => Some(p),
                };
                Self::All { next, direction, system: selection.include_system }
            }
        }
    }

    /// True for an event that is no part of the selection: an event of a stream of the store itself.
    #[must_use]
    pub(crate) fn hides(&self, event: &RecordedEvent) -> bool {
        match self {
            Self::Stream { .. } => false,
            Self::All { system, .. } => !visibility::selected(&event.stream, *system),
        }
    }

    /// Checks that a forward read of all events begins at most one position after the last position of the store.
    ///
    /// # Errors
    /// [`ReadError::PositionAhead`] for a later start: the position belongs to another store, or to a lost state.
    pub(crate) fn check_start(&self, last: Position) -> Result<(), ReadError> {
        match self {
            Self::All { next: Some(next), direction: Direction::Forward, .. } if next.get() > last.get() + 1 => {
                Err(ReadError::PositionAhead { position: *next, last })
            }
            Self::All { .. } | Self::Stream { .. } => Ok(()),
        }
    }

    /// Fixes an open end after the last event of `reader`; later events are then delivered.
    ///
    /// # Errors
    /// When `reader` cannot read the state.
    pub(crate) fn resolve_open_end(&mut self, reader: &dyn StoreReader) -> Result<(), ReadError> {
        if !self.at_open_end() {
            return Ok(());
        }
        match self {
            Self::Stream { name, next, .. } => {
                let tail = reader.stream_tail(name)?;
                *next =
                    Some(tail.map_or_else(Revision::default, |t| Revision::new(t.get() + 1).unwrap_or(Revision::MAX)));
            }
            Self::All { next, .. } => {
                let last = reader.totals()?.last_position;
                *next = Some(Position::new(last.get() + 1).unwrap_or(Position::MAX));
            }
        }
        Ok(())
    }

    /// Reads the next page from `reader` and leaves the cursor in place. At an open end, and for an absent stream, the
    /// page is empty.
    ///
    /// # Errors
    /// When `reader` cannot read the state.
    pub(crate) fn page(&self, reader: &dyn StoreReader, bounds: PageBounds) -> Result<Events, ReadError> {
        const NOTHING: Events = Events { events: Vec::new(), more: false };
        if self.at_open_end() {
            return Ok(NOTHING);
        }
        match self {
            Self::Stream { name, next, direction } => match reader.read_stream(name, *next, *direction, bounds) {
                Ok(page) => Ok(Events { more: page.next.is_some(), events: page.events }),
                Err(ReadError::StreamNotFound(_)) => Ok(NOTHING),
                Err(
                    e @ (ReadError::NoReadIndex(_)
                    | ReadError::Deadline
                    | ReadError::PositionAhead { .. }
                    | ReadError::NotServing(_)
                    | ReadError::Corrupt(_)
                    | ReadError::Storage(_)),
                ) => Err(e),
            },
            Self::All { next, direction, .. } => {
                let page = reader.read_all(*next, *direction, bounds)?;
                Ok(Events { more: page.next.is_some(), events: page.events })
            }
        }
    }

    /// Reads the state of the source at the start of a read.
    ///
    /// # Errors
    /// When `reader` cannot read the state.
    pub(crate) fn as_of(&self, reader: &dyn StoreReader) -> Result<AsOf, ReadError> {
        // Before the position: the last revision is then never the revision of an event after the position.
        let last_revision = match self {
            Self::Stream { name, .. } => reader.stream_tail(name)?.map(Revision::get),
            Self::All { .. } => None,
        };
        Ok(AsOf { position: reader.totals()?.last_position.get(), last_revision })
    }

    /// Moves the start of a backward read to the last event of `as_of`, if the start is later. Events after `as_of` are
    /// then no part of the read.
    pub(crate) fn clamp_backward(&mut self, as_of: AsOf) {
        if self.direction() == Direction::Forward {
            return;
        }
        match self {
            Self::Stream { next, .. } => {
                if let Some(last) = as_of.last_revision.and_then(Revision::new) {
                    *next = Some(next.map_or(last, |next| next.min(last)));
                }
            }
            Self::All { next, .. } => {
                if let Some(last) = Position::new(as_of.position).filter(|last| *last > Position::START) {
                    *next = Some(next.map_or(last, |next| next.min(last)));
                }
            }
        }
    }

    /// Returns the next revision or position after a read whose replica ends at the given position and revision. `None`
    /// for a backward read without a first event.
    #[must_use]
    pub(crate) fn next_after(&self, position: u64, last_revision: Option<u64>) -> Option<u64> {
        match (self.next(), self.direction(), self) {
            (Some(next), ..) => Some(next),
            (None, Direction::Backward, _) => None,
            (None, Direction::Forward, Self::Stream { .. }) => Some(last_revision.map_or(0, |last| last + 1)),
            (None, Direction::Forward, Self::All { .. }) => Some(position + 1),
        }
    }

    /// Returns the token for a call that continues before `next`, the next revision or position in the direction of the
    /// cursor; `None` stands for the end of the direction. All events up to the position `examined` were examined.
    #[must_use]
    pub(crate) fn resume_token(&self, of: TokenOf, next: Option<u64>, examined: u64) -> ResumeToken {
        let forward = self.direction() == Direction::Forward;
        let (position, ordinal) = match (self, next) {
            (Self::Stream { .. }, Some(next)) => (examined, if forward { next } else { next.saturating_add(2) }),
            (Self::Stream { .. }, None) => (examined, u64::from(!forward)),
            (Self::All { .. }, Some(next)) if forward => (examined.max(next.saturating_sub(1)), 0),
            (Self::All { .. }, Some(next)) => (next.saturating_add(1), 0),
            (Self::All { .. }, None) => (if forward { examined } else { 1 }, 0),
        };
        ResumeToken { store: of.store, lineage: LINEAGE, selector: of.selector, position, ordinal }
    }

    /// True for a cursor over the events of a stream.
    #[must_use]
    pub(crate) fn of_stream(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    /// Moves past an event. Returns `false` if a backward read has delivered the first event and is complete.
    pub(crate) fn advance(&mut self, revision: u64, position: u64) -> bool {
        let step = |at: u64, direction: &Direction| match direction {
            Direction::Forward => Some(at + 1),
            Direction::Backward => at.checked_sub(1),
        };
        match self {
            Self::Stream { next, direction, .. } => match step(revision, direction).and_then(Revision::new) {
                Some(r) => *next = Some(r),
                None => return false,
            },
            Self::All { next, direction, .. } => match step(position, direction).and_then(Position::new) {
                Some(p) if p > Position::START => *next = Some(p),
                _ => return false,
            },
        }
        true
    }

    /// Moves a forward cursor over all events past `position`, whose events a peer has examined.
    pub(crate) fn skip_to(&mut self, position: u64) {
        if let Self::All { next: Some(next), direction: Direction::Forward, .. } = self
            && let Some(after) = Position::new(position.saturating_add(1))
        {
            *next = (*next).max(after);
        }
    }

    /// True for an event that the cursor has not delivered yet.
    #[must_use]
    pub(crate) fn wants(&self, event: &v1::RecordedEvent) -> bool {
        match self {
            Self::Stream { next, direction, .. } => match (next, direction) {
                (None, _) => true,
                (Some(n), Direction::Forward) => event.revision >= n.get(),
                (Some(n), Direction::Backward) => event.revision <= n.get(),
            },
            Self::All { next, direction, .. } => match (next, direction) {
                (None, _) => true,
                (Some(n), Direction::Forward) => event.position >= n.get(),
                (Some(n), Direction::Backward) => event.position <= n.get(),
            },
        }
    }

    /// Returns the next revision or position to deliver; `None` at an open end.
    #[must_use]
    pub(crate) fn next(&self) -> Option<u64> {
        match self {
            Self::Stream { next, .. } => next.map(Revision::get),
            Self::All { next, .. } => next.map(Position::get),
        }
    }

    /// Fixes an open end to the next revision or position confirmed by a peer.
    pub(crate) fn set_open_end(&mut self, at: u64) {
        if !self.at_open_end() {
            return;
        }
        match self {
            Self::Stream { next, .. } => *next = Revision::new(at),
            Self::All { next, .. } => *next = Position::new(at),
        }
    }

    /// Returns the fields that the rest of a read changes in the request of the client.
    #[must_use]
    pub(crate) fn rest_of_read(&self, limit: u64) -> v1::ReadRequest {
        // Without a limit the request of the client has no limit either.
        let limit = if limit == u64::MAX { 0 } else { limit };
        v1::ReadRequest { start: Some(self.start()), limit, ..v1::ReadRequest::default() }
    }

    /// Returns the fields that the rest of a subscription changes in the request of the client.
    #[must_use]
    pub(crate) fn rest_of_subscription(&self) -> v1::SubscribeRequest {
        v1::SubscribeRequest { start: Some(self.start()), ..v1::SubscribeRequest::default() }
    }

    fn start(&self) -> v1::Start {
        let kind = match self {
            Self::Stream { next: Some(r), .. } => StartKind::FromRevision(r.get()),
            Self::All { next: Some(p), .. } => StartKind::FromPosition(p.get()),
            Self::Stream { next: None, .. } | Self::All { next: None, .. } => StartKind::FromEnd(v1::Unit {}),
        };
        kind.into()
    }

    /// True for a forward read that starts after the last event, before the revision or position is known.
    fn at_open_end(&self) -> bool {
        let open = matches!(self, Self::Stream { next: None, .. } | Self::All { next: None, .. });
        open && self.direction() == Direction::Forward
    }

    fn direction(&self) -> Direction {
        match self {
            Self::Stream { direction, .. } | Self::All { direction, .. } => *direction,
        }
    }
}
