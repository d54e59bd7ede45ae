//! Reads that end.

use crate::{Client, Error, v1};
use std::collections::VecDeque;
use taffrail_proto::v1::streams_client::StreamsClient;
use tonic::Streaming;

/// The events of one read, in order. Pages are fetched as events are taken, so a slow reader slows the server.
pub struct ReadEvents {
    pages: Streaming<v1::ReadResponse>,
    ready: VecDeque<v1::RecordedEvent>,
}

impl Client {
    /// Reads a stream or the whole store, and ends.
    ///
    /// # Errors
    /// `NotFound` for a stream without events; as the server answers.
    pub async fn read(&self, request: v1::ReadRequest) -> Result<ReadEvents, Error> {
        let mut streams = StreamsClient::new(self.channel()).max_decoding_message_size(crate::MESSAGE_BYTES_MAX);
        let pages = streams.read(self.streaming(request)).await.map_err(Error::of_read)?.into_inner();
        Ok(ReadEvents { pages, ready: VecDeque::new() })
    }

    /// Reads a whole stream forward into memory, `limit` events at most (0: all).
    ///
    /// # Errors
    /// As `read`.
    pub async fn read_stream(&self, stream: &str, limit: u64) -> Result<Vec<v1::RecordedEvent>, Error> {
        let selector = v1::Selector { kind: Some(v1::selector::Kind::Stream(stream.to_owned())) };
        self.read(v1::ReadRequest { selector: Some(selector), limit, ..v1::ReadRequest::default() }).await?.rest().await
    }
}

impl ReadEvents {
    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn next(&mut self) -> Result<Option<v1::RecordedEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.pages.message().await.map_err(Error::of_read)? {
                Some(page) => self.ready.extend(page.events),
                None => return Ok(None),
            }
        }
    }

    /// All events that are left.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn rest(mut self) -> Result<Vec<v1::RecordedEvent>, Error> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}
