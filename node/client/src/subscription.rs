//! Subscriptions: what is stored, then what is being stored. One that resumes remembers its place and takes it up again on
//! a new connection, so its caller sees neither gap nor duplicate.

use crate::{Client, Error, RetryPolicy, v1};
use std::collections::VecDeque;
use taffrail_proto::v1::{
    subscribe_request::Start, subscribe_response::Kind, subscriptions_client::SubscriptionsClient,
};
use tokio::time::{Instant, sleep};
use tonic::Streaming;

/// What a subscription brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The server took the subscription; the store's last position then.
    Confirmed(u64),
    /// An event.
    Event(Box<v1::RecordedEvent>),
    /// Everything up to this position has been looked at.
    Checkpoint(u64),
    /// From here on events come as they are appended.
    CaughtUp(u64),
    /// Stored events are being read again.
    FellBehind(u64),
}

/// A subscription in progress.
pub struct Subscription {
    client: Client,
    request: v1::SubscribeRequest,
    /// `None`: the end of the connection is the end of the subscription.
    resume: Option<RetryPolicy>,
    stream: Option<Streaming<v1::SubscribeResponse>>,
    ready: VecDeque<Item>,
    confirmed: bool,
    lost_since: Option<(Instant, u32)>,
}

impl Client {
    /// Follows a stream or the whole store until the connection ends.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn subscribe(&self, request: v1::SubscribeRequest) -> Result<Subscription, Error> {
        self.open(request, None).await
    }

    /// Follows a stream or the whole store, and goes on after the last event whenever the connection is lost. Gives up
    /// when no node answered for as long as `policy` allows.
    ///
    /// # Errors
    /// As the server answers to the first connection.
    pub async fn subscribe_resuming(
        &self,
        request: v1::SubscribeRequest,
        policy: RetryPolicy,
    ) -> Result<Subscription, Error> {
        self.open(request, Some(policy)).await
    }

    async fn open(&self, request: v1::SubscribeRequest, resume: Option<RetryPolicy>) -> Result<Subscription, Error> {
        let mut subscription = Subscription {
            client: self.clone(),
            request,
            resume,
            stream: None,
            ready: VecDeque::new(),
            confirmed: false,
            lost_since: None,
        };
        subscription.connect().await?;
        Ok(subscription)
    }
}

impl Subscription {
    async fn connect(&mut self) -> Result<(), Error> {
        let mut subscriptions =
            SubscriptionsClient::new(self.client.channel()).max_decoding_message_size(crate::MESSAGE_BYTES_MAX);
        let request = self.client.streaming(self.request.clone());
        self.stream = Some(subscriptions.subscribe(request).await.map_err(Error::of_read)?.into_inner());
        Ok(())
    }

    /// The next item; `None` when the server has ended the subscription without an error. Cancel safe: an item that was
    /// received is not lost when this future is dropped.
    ///
    /// # Errors
    /// As the server answers; with resuming only what cannot be resumed.
    pub async fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let received = match &mut self.stream {
                Some(stream) => stream.message().await.map_err(Error::of_read),
                None => match self.connect().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match received {
                Ok(Some(message)) => {
                    self.lost_since = None;
                    self.take(message);
                }
                Ok(None) if self.resume.is_none() => return Ok(None),
                Ok(None) => self.lost(None).await?,
                Err(error) if resumable(&error) => self.lost(Some(error)).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits before the next connection, or ends with `error`.
    async fn lost(&mut self, error: Option<Error>) -> Result<(), Error> {
        self.stream = None;
        let ended = || Error::Unavailable {
            reason: String::new(),
            message: "the server ended the subscription".to_owned(),
            proposed: crate::Proposed::No,
            leader: None,
            retry_after: None,
        };
        let error = error.unwrap_or_else(ended);
        let Some(policy) = self.resume else { return Err(error) };
        let (since, attempt) = self.lost_since.map_or_else(|| (Instant::now(), 1), |(since, n)| (since, n + 1));
        self.lost_since = Some((since, attempt));
        let pause = policy.pause(attempt, error.retry_after());
        if since.elapsed() + pause > policy.total {
            return Err(error);
        }
        tracing::debug!(attempt, %error, "subscription resumes");
        sleep(pause).await;
        Ok(())
    }

    fn take(&mut self, message: v1::SubscribeResponse) {
        match message.kind {
            Some(Kind::Confirmed(confirmed)) => {
                // An open end is fixed by the first confirmation: a later connection goes on from there.
                if let (Some(Start::FromEnd(_)), Some(next)) = (self.request.start, confirmed.next) {
                    self.request.start = Some(self.at(next));
                }
                if !self.confirmed {
                    self.confirmed = true;
                    self.ready.push_back(Item::Confirmed(confirmed.position));
                }
            }
            Some(Kind::Events(page)) => {
                if let Some(last) = page.events.last() {
                    let next = if self.of_stream() { last.revision + 1 } else { last.position + 1 };
                    self.request.start = Some(self.at(next));
                }
                self.ready.extend(page.events.into_iter().map(|e| Item::Event(Box::new(e))));
            }
            Some(Kind::Checkpoint(checkpoint)) => {
                if !self.of_stream() {
                    self.request.start = Some(self.at(checkpoint.position + 1));
                }
                self.ready.push_back(Item::Checkpoint(checkpoint.position));
            }
            Some(Kind::CaughtUp(mark)) => self.ready.push_back(Item::CaughtUp(mark.position)),
            Some(Kind::FellBehind(mark)) => self.ready.push_back(Item::FellBehind(mark.position)),
            None => {}
        }
    }

    fn of_stream(&self) -> bool {
        let kind = self.request.selector.as_ref().and_then(|s| s.kind.as_ref());
        matches!(kind, Some(v1::selector::Kind::Stream(_)))
    }

    /// A start at the next event to deliver.
    fn at(&self, next: u64) -> Start {
        if self.of_stream() { Start::FromRevision(next) } else { Start::FromPosition(next) }
    }
}

fn resumable(error: &Error) -> bool {
    match error {
        Error::Unavailable { .. } | Error::Deadline { .. } | Error::OutcomeUnknown { .. } => true,
        // A connection that breaks in the middle of a message ends as INTERNAL.
        Error::Failed(status) => status.code() == tonic::Code::Internal,
        Error::InvalidEndpoint { .. }
        | Error::Invalid { .. }
        | Error::Rejected(_)
        | Error::NotFound { .. }
        | Error::Denied { .. } => false,
    }
}
