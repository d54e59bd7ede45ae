//! `Cursor`, the resumable position of a read or subscription. A cursor reads pages from a replica of this node,
//! converts to a request to a peer, and moves past each delivered event. Any replica can therefore continue without gap
//! or duplicate event.

use super::decode::{Source, Start};
use taffrail_core::{
    event::RecordedEvent,
    ids::{Position, Revision},
    names::StreamName,
};
use taffrail_proto::v1;
use taffrail_store_api::{Consistency, Direction, PageBounds, ReadError, StoreReader};

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
    /// All events of the store.
    All { next: Option<Position>, direction: Direction },
}

/// A page of events.
pub(crate) struct Events {
    pub(crate) events: Vec<RecordedEvent>,
    /// True if the replica has further events after this page.
    pub(crate) more: bool,
}

impl Cursor {
    /// Creates a cursor at the start of `source`.
    #[must_use]
    pub(crate) fn new(source: Source, direction: Direction) -> Self {
        match source {
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
                Self::All { next, direction }
            }
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

    /// Reads the next page from `reader` and leaves the cursor in place. At an open end the page is empty.
    ///
    /// # Errors
    /// When `reader` cannot read the state, or has no such stream.
    pub(crate) fn page(&self, reader: &dyn StoreReader, bounds: PageBounds) -> Result<Events, ReadError> {
        if self.at_open_end() {
            return Ok(Events { events: Vec::new(), more: false });
        }
        match self {
            Self::Stream { name, next, direction } => {
                let page = reader.read_stream(name, *next, *direction, bounds)?;
                Ok(Events { more: page.next.is_some(), events: page.events })
            }
            Self::All { next, direction } => {
                let page = reader.read_all(*next, *direction, bounds)?;
                Ok(Events { more: page.next.is_some(), events: page.events })
            }
        }
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
            Self::All { next, direction } => match step(position, direction).and_then(Position::new) {
                Some(p) if p > Position::START => *next = Some(p),
                _ => return false,
            },
        }
        true
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
            Self::All { next, direction } => match (next, direction) {
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

    /// Converts the rest of a read to a request to a peer.
    #[must_use]
    pub(crate) fn read_request(&self, limit: u64, consistency: Consistency) -> v1::ReadRequest {
        use v1::read_request::Start as S;
        let start = match self {
            Self::Stream { next: Some(r), .. } => S::FromRevision(r.get()),
            Self::All { next: Some(p), .. } => S::FromPosition(p.get()),
            Self::Stream { next: None, .. } | Self::All { next: None, .. } => S::FromEnd(v1::Unit {}),
        };
        let direction = match self.direction() {
            Direction::Forward => v1::Direction::Forward,
            Direction::Backward => v1::Direction::Backward,
        };
        let consistency = match consistency {
            Consistency::Linearizable => v1::Consistency::Linearizable,
            Consistency::Stale => v1::Consistency::Stale,
        };
        v1::ReadRequest {
            selector: Some(self.selector()),
            direction: direction.into(),
            start: Some(start),
            limit: if limit == u64::MAX { 0 } else { limit },
            consistency: consistency.into(),
        }
    }

    /// Converts the rest of a subscription to a request to a peer.
    #[must_use]
    pub(crate) fn subscribe_request(&self) -> v1::SubscribeRequest {
        use v1::subscribe_request::Start as S;
        let start = match self {
            Self::Stream { next: Some(r), .. } => S::FromRevision(r.get()),
            Self::All { next: Some(p), .. } => S::FromPosition(p.get()),
            Self::Stream { next: None, .. } | Self::All { next: None, .. } => S::FromEnd(v1::Unit {}),
        };
        v1::SubscribeRequest { selector: Some(self.selector()), start: Some(start) }
    }

    fn selector(&self) -> v1::Selector {
        let kind = match self {
            Self::Stream { name, .. } => v1::selector::Kind::Stream(name.as_str().to_owned()),
            Self::All { .. } => v1::selector::Kind::All(v1::Unit {}),
        };
        v1::Selector { kind: Some(kind) }
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
