//! The connection and the calls that are one question and one answer.

use crate::{Error, v1};
use std::time::Duration;
use taffrail_proto::v1::{cluster_client::ClusterClient, stores_client::StoresClient, streams_client::StreamsClient};
use tonic::{
    Request, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// Metadata that names the store of a call: `name` or `namespace/name`.
pub const STORE: &str = "taffrail-store";
/// Metadata of a call that a node passed on to another.
pub const HOP: &str = "taffrail-hop";
/// Metadata that follows a call through the logs of the nodes.
pub const REQUEST_ID: &str = "taffrail-request-id";
pub use taffrail_proto::MESSAGE_BYTES_MAX;

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    /// Time for a connection to be made.
    pub connect_timeout: Duration,
    /// A silent connection is probed after this long, and given up after as long again.
    pub keepalive: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), keepalive: Duration::from_secs(10) }
    }
}

/// A client of one store. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    store: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

fn endpoint(address: &str, options: ConnectOptions) -> Result<Endpoint, Error> {
    let invalid = |message: String| Error::InvalidEndpoint { endpoint: address.to_owned(), message };
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    if !uri.starts_with("http://") {
        return Err(invalid("must be http://HOST:PORT".to_owned()));
    }
    Ok(Endpoint::from_shared(uri)
        .map_err(|e| invalid(e.to_string()))?
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive)
        .keep_alive_timeout(options.keepalive)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .tcp_nodelay(true))
}

impl Client {
    /// Connects to `http://host:port` (or `host:port`).
    ///
    /// # Errors
    /// `InvalidEndpoint`, or `Unavailable` when no connection can be made.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let channel = endpoint(address, ConnectOptions::default())?
            .connect()
            .await
            .map_err(|e| Error::of_read(tonic::Status::from_error(Box::new(e))))?;
        Ok(Self::from_channel(channel))
    }

    /// A client that connects at its first call, and again whenever the connection is lost.
    ///
    /// # Errors
    /// `InvalidEndpoint`.
    pub fn connect_lazy(address: &str, options: ConnectOptions) -> Result<Self, Error> {
        Ok(Self::from_channel(endpoint(address, options)?.connect_lazy()))
    }

    /// A client over a connection of the caller's making.
    #[must_use]
    pub fn from_channel(channel: Channel) -> Self {
        Self { channel, store: None, timeout: Duration::from_secs(10) }
    }

    /// The store of every call: `name` or `namespace/name`.
    ///
    /// # Errors
    /// `Invalid` when it cannot be sent as metadata.
    pub fn with_store(mut self, store: &str) -> Result<Self, Error> {
        let value = store.parse().map_err(|_| Error::Invalid {
            field: Some(STORE.to_owned()),
            reason: None,
            message: format!("store {store:?}: must be visible ASCII"),
        })?;
        self.store = Some(value);
        Ok(self)
    }

    /// Time for each call with one answer (10 s by default). Streams have none.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request with store and deadline.
    pub(crate) fn unary<T>(&self, message: T) -> Request<T> {
        let mut request = self.streaming(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A request with store and without a deadline.
    pub(crate) fn streaming<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(store) = &self.store {
            request.metadata_mut().insert(STORE, store.clone());
        }
        request
    }

    /// Streams by name, a page at a time.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn list_streams(&self, request: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        let mut streams = StreamsClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(streams.list(self.unary(request)).await.map_err(Error::of_read)?.into_inner())
    }

    /// One store: `name`, `namespace/name`, or empty for the store of this client.
    ///
    /// # Errors
    /// `NotFound` with the nearest names; as the server answers.
    pub async fn store(&self, name: &str) -> Result<v1::Store, Error> {
        let request = self.unary(v1::GetStoreRequest { store: name.to_owned() });
        Ok(StoresClient::new(self.channel()).get(request).await.map_err(Error::of_read)?.into_inner())
    }

    /// All stores; with `retained` also those whose declaration is gone but whose data is kept.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn stores(&self, retained: bool) -> Result<Vec<v1::Store>, Error> {
        let request = self.unary(v1::ListStoresRequest { retained });
        let mut stores = StoresClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(stores.list(request).await.map_err(Error::of_read)?.into_inner().stores)
    }

    /// The cluster as the answering node sees it.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn cluster_status(&self) -> Result<v1::ClusterStatus, Error> {
        let request = self.unary(v1::ClusterStatusRequest {});
        Ok(ClusterClient::new(self.channel()).status(request).await.map_err(Error::of_read)?.into_inner())
    }

    /// The cluster's status now, then again whenever it changes.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn cluster_watch(&self) -> Result<ClusterWatch, Error> {
        let request = self.streaming(v1::ClusterStatusRequest {});
        let stream = ClusterClient::new(self.channel()).watch(request).await.map_err(Error::of_read)?.into_inner();
        Ok(ClusterWatch(stream))
    }
}

/// Statuses of a cluster as they change.
pub struct ClusterWatch(Streaming<v1::ClusterStatus>);

impl ClusterWatch {
    /// The next status; `None` when the server has ended the watch.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn next(&mut self) -> Result<Option<v1::ClusterStatus>, Error> {
        self.0.message().await.map_err(Error::of_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_scheme_and_no_other_one() {
        assert!(endpoint("127.0.0.1:2113", ConnectOptions::default()).is_ok());
        assert!(endpoint("http://orders.default:2113", ConnectOptions::default()).is_ok());
        for bad in ["ftp://x", "http://", "a b"] {
            assert!(matches!(endpoint(bad, ConnectOptions::default()), Err(Error::InvalidEndpoint { .. })), "{bad}");
        }
    }
}
