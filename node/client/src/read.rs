//! Reads of stored events.

use crate::{Client, Error, Proposed, v1};
use std::collections::VecDeque;
use taffrail_proto::v1::{read_response::Kind, streams_client::StreamsClient};
use tonic::Streaming;

/// The events of a [`Client::read`], in order. The server sends a page when the caller has taken the events of the
/// previous pages, so a slow caller slows the server down.
pub struct ReadEvents {
    pages: Streaming<v1::ReadResponse>,
    ready: VecDeque<v1::RecordedEvent>,
    end: Option<v1::ReadEnd>,
}

impl Client {
    /// Reads a stream or the whole store, forward or backward.
    ///
    /// ```no_run
    /// use taffrail_client::{Client, v1};
    ///
    /// # async fn example(client: Client) -> Result<(), taffrail_client::Error> {
    /// let selector = v1::Selector { kind: Some(v1::selector::Kind::Stream("order-1".to_owned())) };
    /// let last_ten = v1::ReadRequest {
    ///     selector: Some(selector),
    ///     direction: v1::Direction::Backward.into(),
    ///     limit: 10,
    ///     ..v1::ReadRequest::default()
    /// };
    /// let mut events = client.read(last_ten).await?;
    /// while let Some(event) = events.next().await? {
    ///     println!("{} {}", event.revision, event.r#type);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A stream without events is no error: the read has no event, and [`ReadEvents::end`] says that the stream is absent.
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn read(&self, request: v1::ReadRequest) -> Result<ReadEvents, Error> {
        let mut streams = StreamsClient::new(self.channel()).max_decoding_message_size(crate::MESSAGE_BYTES_MAX);
        let pages = streams.read(self.streaming(request)).await.map_err(Error::from_status)?.into_inner();
        Ok(ReadEvents { pages, ready: VecDeque::new(), end: None })
    }

    /// Reads a stream forward into memory: at most `limit` events, or all events if `limit` is 0.
    ///
    /// # Errors
    /// Same as [`Client::read`].
    pub async fn read_stream(&self, stream: &str, limit: u64) -> Result<Vec<v1::RecordedEvent>, Error> {
        let selector = v1::Selector { kind: Some(v1::selector::Kind::Stream(stream.to_owned())) };
        self.read(v1::ReadRequest { selector: Some(selector), limit, ..v1::ReadRequest::default() }).await?.rest().await
    }
}

impl ReadEvents {
    /// Returns the next event, or `None` at the end of the read.
    ///
    /// # Errors
    /// The error with which the server or the connection ended the read. [`Error::Unavailable`] if the server ended the
    /// read without the message about the end: events may be missing.
    pub async fn next(&mut self) -> Result<Option<v1::RecordedEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            let message = self.pages.message().await.map_err(Error::from_status)?;
            match message.ok_or_else(incomplete)?.kind {
                Some(Kind::Events(page)) => self.ready.extend(page.events),
                Some(Kind::End(end)) => self.end = Some(end),
                Some(Kind::Checkpoint(_)) | None => {}
            }
        }
    }

    /// Returns the state of the store and the stream at the start of the read, once [`next`](Self::next)
    /// has returned `None`.
    #[must_use]
    pub fn end(&self) -> Option<&v1::ReadEnd> {
        self.end.as_ref()
    }

    /// Collects the remaining events in memory.
    ///
    /// # Errors
    /// Same as [`ReadEvents::next`].
    pub async fn rest(mut self) -> Result<Vec<v1::RecordedEvent>, Error> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}

fn incomplete() -> Error {
    Error::Unavailable {
        reason: String::new(),
        message: "the server ended the read before the end of the events".to_owned(),
        proposed: Proposed::No,
        leader: None,
        retry_after: None,
    }
}
