//! The connection to a node, and the calls about streams, stores and the cluster.

use crate::{Error, v1};
use std::time::Duration;
use taffrail_proto::v1::{cluster_client::ClusterClient, stores_client::StoresClient, streams_client::StreamsClient};
use tonic::{
    Request, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// Metadata key for the store of a call: `name` or `namespace/name`. Set by [`Client::with_store`].
pub const STORE: &str = "taffrail-store";
/// Metadata key of calls forwarded from node to node. Applications must not set this key.
pub const HOP: &str = "taffrail-hop";
/// Metadata key of the request id; nodes write the id into their logs.
pub const REQUEST_ID: &str = "taffrail-request-id";
pub use taffrail_proto::MESSAGE_BYTES_MAX;

/// Timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    /// Time to establish a connection, 5 s by default.
    pub connect_timeout: Duration,
    /// Interval of HTTP/2 keepalive pings, and time limit for the answer to a ping before the connection counts as
    /// lost. 10 s by default.
    pub keepalive: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), keepalive: Duration::from_secs(10) }
    }
}

/// A client of a store, on a single connection shared by all clones.
///
/// ```no_run
/// use std::time::Duration;
/// use taffrail_client::Client;
///
/// # async fn example() -> Result<(), taffrail_client::Error> {
/// let client = Client::connect("http://127.0.0.1:2113")
///     .await?
///     .with_store("team-b/payments")?
///     .with_timeout(Duration::from_secs(5));
/// println!("{} events", client.store("").await?.event_count());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    store: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Client {
    /// Connects to `http://host:port` (or `host:port`). The client reconnects when the connection is lost.
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`], or [`Error::Unavailable`] if the connection cannot be established.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let channel = endpoint(address, ConnectOptions::default())?
            .connect()
            .await
            .map_err(|e| Error::from_status(tonic::Status::from_error(Box::new(e))))?;
        Ok(Self::from_channel(channel))
    }

    /// Creates a client without connecting. The first call connects; the client reconnects when the connection is lost.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), taffrail_client::Error> {
    /// use taffrail_client::{Client, ConnectOptions};
    ///
    /// let client = Client::connect_lazy("orders.default.svc:2113", ConnectOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`] if the address is not valid.
    pub fn connect_lazy(address: &str, options: ConnectOptions) -> Result<Self, Error> {
        Ok(Self::from_channel(endpoint(address, options)?.connect_lazy()))
    }

    /// Creates a client over a [`Channel`] configured by the caller. The timeout of calls is 10 s.
    #[must_use]
    pub fn from_channel(channel: Channel) -> Self {
        Self { channel, store: None, timeout: Duration::from_secs(10) }
    }

    /// Sets the store of every call: `name` or `namespace/name`. Without a store the server derives the store from the
    /// address, and otherwise uses the default store of the cluster.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is not visible ASCII.
    pub fn with_store(mut self, store: &str) -> Result<Self, Error> {
        let value = store.parse().map_err(|_| Error::Invalid {
            field: Some(STORE.to_owned()),
            reason: None,
            message: format!("store {store:?}: the name must be visible ASCII"),
        })?;
        self.store = Some(value);
        Ok(self)
    }

    /// Sets the timeout of every call with a single response, 10 s by default. Reads, subscriptions and
    /// [`Client::cluster_watch`] have no timeout.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Creates the request of a call with a single response: with store and timeout.
    pub(crate) fn unary<T>(&self, message: T) -> Request<T> {
        let mut request = self.streaming(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Creates the request of a call with a stream of responses: with store, without timeout.
    pub(crate) fn streaming<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(store) = &self.store {
            request.metadata_mut().insert(STORE, store.clone());
        }
        request
    }

    /// Lists the streams of the store by name, one page per call. The page token of a response requests the next page;
    /// an empty token marks the last page.
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn list_streams(&self, request: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        let mut streams = StreamsClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(streams.list(self.unary(request)).await.map_err(Error::from_status)?.into_inner())
    }

    /// Describes a store: `name`, `namespace/name`, or the empty string for the store of this client.
    ///
    /// # Errors
    /// [`Error::NotFound`] with similar names; any other error of the server.
    pub async fn store(&self, name: &str) -> Result<v1::Store, Error> {
        let request = self.unary(v1::GetStoreRequest { store: name.to_owned() });
        Ok(StoresClient::new(self.channel()).get(request).await.map_err(Error::from_status)?.into_inner())
    }

    /// Lists the stores of the cluster; with `include_retained` also stores without a declaration whose data is kept.
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn stores(&self, include_retained: bool) -> Result<Vec<v1::Store>, Error> {
        let mut request = v1::ListStoresRequest { include_retained, ..v1::ListStoresRequest::default() };
        let mut stores = Vec::new();
        loop {
            let page = self.list_stores(request.clone()).await?;
            stores.extend(page.stores);
            if page.next_page_token.is_empty() {
                return Ok(stores);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Lists the stores of the cluster, one page per call, with the filters of the request. The page token of a response
    /// requests the next page; an empty token marks the last page.
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn list_stores(&self, request: v1::ListStoresRequest) -> Result<v1::ListStoresResponse, Error> {
        let mut stores = StoresClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(stores.list(self.unary(request)).await.map_err(Error::from_status)?.into_inner())
    }

    /// Creates a store with 1, 3, 5 or 7 replicas: `name` or `namespace/name`. A repeat with the same settings returns
    /// the store; a store with other settings is never changed.
    ///
    /// ```no_run
    /// # async fn example(client: taffrail_client::Client) -> Result<(), taffrail_client::Error> {
    /// let store = client.create_store("orders", 3).await?;
    /// println!("{} has the id {}", store.name, store.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the store may exist now; a repeat is safe. Any other error proves that the call
    /// created no store.
    pub async fn create_store(&self, store: &str, replicas: u32) -> Result<v1::Store, Error> {
        let request = v1::CreateStoreRequest { store: store.to_owned(), replicas, needs: Vec::new() };
        let answer = StoresClient::new(self.channel()).create(self.unary(request)).await;
        Ok(answer.map_err(Error::from_append_status)?.into_inner().store.unwrap_or_default())
    }

    /// Stops serving the store with the id `store_id`, and removes the data from every node. The caller repeats the call
    /// until [`v1::RemoveStoreResponse::done`] is true.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the store may be removed; a repeat is safe. Any other error proves
    /// that the call removed nothing.
    pub async fn remove_store(&self, store_id: &str) -> Result<v1::RemoveStoreResponse, Error> {
        let request = v1::RemoveStoreRequest { store_id: store_id.to_owned(), needs: Vec::new() };
        let answer = StoresClient::new(self.channel()).remove(self.unary(request)).await;
        Ok(answer.map_err(Error::from_append_status)?.into_inner())
    }

    /// Returns the status of the cluster, as observed by the answering node.
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn cluster_status(&self) -> Result<v1::ClusterStatus, Error> {
        let request = self.unary(v1::ClusterStatusRequest {});
        Ok(ClusterClient::new(self.channel()).status(request).await.map_err(Error::from_status)?.into_inner())
    }

    /// Returns the numbers of the features that the answering node knows, for the field `needs` of requests. During an
    /// upgrade, other nodes may know fewer features.
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn features(&self) -> Result<Vec<u32>, Error> {
        let request = self.unary(v1::FeaturesRequest {});
        let answer = ClusterClient::new(self.channel()).features(request).await.map_err(Error::from_status)?;
        Ok(answer.into_inner().features)
    }

    /// Watches the status of the cluster: the current status, then every change.
    ///
    /// # Errors
    /// The error of the server, see [`Error`].
    pub async fn cluster_watch(&self) -> Result<ClusterWatch, Error> {
        let request = self.streaming(v1::ClusterStatusRequest {});
        let stream = ClusterClient::new(self.channel()).watch(request).await.map_err(Error::from_status)?.into_inner();
        Ok(ClusterWatch(stream))
    }
}

/// A watch of the status of the cluster, created by [`Client::cluster_watch`].
pub struct ClusterWatch(Streaming<v1::ClusterStatus>);

impl ClusterWatch {
    /// Waits for the next status; `None` if the server ended the watch.
    ///
    /// # Errors
    /// The error with which the server or the connection ended the watch.
    pub async fn next(&mut self) -> Result<Option<v1::ClusterStatus>, Error> {
        self.0.message().await.map_err(Error::from_status)
    }
}

/// Parses an address and sets the options of the transport.
fn endpoint(address: &str, options: ConnectOptions) -> Result<Endpoint, Error> {
    let invalid = |message: String| Error::InvalidEndpoint { endpoint: address.to_owned(), message };
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    if !uri.starts_with("http://") {
        return Err(invalid("the address must be http://HOST:PORT or HOST:PORT".to_owned()));
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
