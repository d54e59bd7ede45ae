//! Subscriptions: the stored events, then events appended later. A resuming subscription keeps the position of the next
//! event and continues from this position on a new connection, so the caller sees neither gap nor duplicate.

use crate::{Client, Error, RetryPolicy, v1};
use bytes::Bytes;
use std::collections::VecDeque;
use taffrail_proto::v1::{start::Kind as Start, subscribe_response::Kind, subscriptions_client::SubscriptionsClient};
use tokio::time::{Instant, sleep};
use tonic::Streaming;

/// An event, or a mark of the progress of a [`Subscription`].
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The server accepted the subscription. Holds the last position of the store at the time. Delivered once.
    Confirmed(u64),
    /// The next event.
    Event(Box<v1::RecordedEvent>),
    /// The server examined all events up to this position; a later subscription may start after this position.
    Checkpoint(u64),
    /// All events stored up to this position are delivered; later events follow after each append.
    CaughtUp(u64),
    /// The subscription fell behind at this position and reads stored events again.
    FellBehind(u64),
}

/// A subscription in progress, created by [`Client::subscribe`] or [`Client::subscribe_resuming`].
pub struct Subscription {
    client: Client,
    request: v1::SubscribeRequest,
    /// Policy of reconnects; `None` if the subscription ends with the connection.
    resume: Option<RetryPolicy>,
    stream: Option<Streaming<v1::SubscribeResponse>>,
    ready: VecDeque<Item>,
    confirmed: bool,
    lost_since: Option<(Instant, u32)>,
}

impl Client {
    /// Follows a stream or the whole store until the connection ends.
    ///
    /// ```no_run
    /// use taffrail_client::{Client, Item, v1};
    ///
    /// # async fn example(client: Client) -> Result<(), taffrail_client::Error> {
    /// let selector = v1::Selector { kind: Some(v1::selector::Kind::Stream("order-1".to_owned())) };
    /// let start = v1::Start::from(v1::start::Kind::FromEnd(v1::Unit {}));
    /// let request =
    ///     v1::SubscribeRequest { selector: Some(selector), start: Some(start), ..v1::SubscribeRequest::default() };
    /// let mut subscription = client.subscribe(request).await?;
    /// while let Some(item) = subscription.next().await? {
    ///     if let Item::Event(event) = item {
    ///         println!("{} {}", event.revision, event.r#type);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn subscribe(&self, request: v1::SubscribeRequest) -> Result<Subscription, Error> {
        self.open(request, None).await
    }

    /// Follows a stream or the whole store, and continues after the last event when the connection is lost. The
    /// subscription ends with an error when no node answers within the total time of `policy`.
    ///
    /// ```no_run
    /// use taffrail_client::{Client, Item, RetryPolicy, v1};
    ///
    /// # async fn example(client: Client, checkpoint: u64) -> Result<(), taffrail_client::Error> {
    /// let selector = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    /// let start = v1::Start::from(v1::start::Kind::AfterPosition(checkpoint));
    /// let request =
    ///     v1::SubscribeRequest { selector: Some(selector), start: Some(start), ..v1::SubscribeRequest::default() };
    /// let mut subscription = client.subscribe_resuming(request, RetryPolicy::default()).await?;
    /// while let Some(item) = subscription.next().await? {
    ///     match item {
    ///         Item::Event(event) => println!("{} {}", event.position, event.r#type),
    ///         Item::Checkpoint(position) => println!("store {position} as the checkpoint"),
    ///         Item::Confirmed(_) | Item::CaughtUp(_) | Item::FellBehind(_) => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of the server to the first request, see [`Error`].
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
    /// Waits for the next item; `None` if the server ended the subscription without an error. Cancel safe: dropping the
    /// future loses no item.
    ///
    /// # Errors
    /// The error with which the server or the connection ended the subscription. A resuming subscription returns an
    /// error only if a new connection cannot help, or if no connection succeeds within the total time of the policy.
    pub async fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let received = match &mut self.stream {
                Some(stream) => stream.message().await.map_err(Error::from_status),
                None => match self.connect().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match received {
                Ok(Some(message)) => {
                    self.lost_since = None;
                    self.receive(message);
                }
                Ok(None) if self.resume.is_none() => return Ok(None),
                Ok(None) => self.disconnected(None).await?,
                Err(error) if is_resumable(&error) => self.disconnected(Some(error)).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the request from the current start.
    async fn connect(&mut self) -> Result<(), Error> {
        let mut subscriptions =
            SubscriptionsClient::new(self.client.channel()).max_decoding_message_size(crate::MESSAGE_BYTES_MAX);
        let request = self.client.streaming(self.request.clone());
        self.stream = Some(subscriptions.subscribe(request).await.map_err(Error::from_status)?.into_inner());
        Ok(())
    }

    /// Drops the connection and waits before the next attempt. Returns `error` if the subscription does not resume or
    /// the policy allows no further attempt.
    async fn disconnected(&mut self, error: Option<Error>) -> Result<(), Error> {
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
        tracing::debug!(attempt, %error, "resuming subscription");
        sleep(pause).await;
        Ok(())
    }

    /// Queues the items of a message and moves the start of the next connection behind these items.
    fn receive(&mut self, message: v1::SubscribeResponse) {
        match message.kind {
            Some(Kind::Confirmed(confirmed)) => {
                // The confirmation fixes the start of a subscription `from_end`, for later connections
                // to continue from.
                self.continue_after(confirmed.resume);
                if !self.confirmed {
                    self.confirmed = true;
                    self.ready.push_back(Item::Confirmed(confirmed.position));
                }
            }
            Some(Kind::Events(page)) => {
                self.continue_after(page.resume);
                self.ready.extend(page.events.into_iter().map(|e| Item::Event(Box::new(e))));
            }
            Some(Kind::Checkpoint(checkpoint)) => {
                self.continue_after(checkpoint.resume);
                self.ready.push_back(Item::Checkpoint(checkpoint.position));
            }
            Some(Kind::CaughtUp(mark)) => {
                self.continue_after(mark.resume);
                self.ready.push_back(Item::CaughtUp(mark.position));
            }
            Some(Kind::FellBehind(mark)) => {
                self.continue_after(mark.resume);
                self.ready.push_back(Item::FellBehind(mark.position));
            }
            None => {}
        }
    }

    /// Moves the start of the next connection to the token of a page or mark. The token also names the store, so the
    /// next connection never continues in a store that was created again under the same name.
    fn continue_after(&mut self, resume: Bytes) {
        if !resume.is_empty() {
            self.request.start = Some(Start::Resume(resume).into());
        }
    }
}

/// Returns true if a new connection may help after `error`.
fn is_resumable(error: &Error) -> bool {
    match error {
        Error::Unavailable { .. } | Error::Deadline { .. } | Error::OutcomeUnknown { .. } => true,
        // tonic reports a connection broken within a message as INTERNAL.
        Error::Failed(status) => status.code() == tonic::Code::Internal,
        Error::InvalidEndpoint { .. }
        | Error::Invalid { .. }
        | Error::Rejected(_)
        | Error::NotFound { .. }
        | Error::Denied { .. } => false,
    }
}
