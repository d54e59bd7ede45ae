//! [`Proxy`]: a TCP proxy in front of the peer port of a node. The proxy forwards the bytes to the node at a limited rate, and
//! the answers of the node without delay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    time::Instant,
};

/// Bytes that are forwarded at once. Small, so that the proxy itself buffers next to nothing.
const CHUNK: usize = 16 << 10;

/// A link with a limited rate in one direction, shared by all its connections.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    link: Arc<Link>,
}

struct Link {
    bytes_per_second: u64,
    /// Time at which the link is free again.
    free_at: Mutex<Instant>,
    carried: AtomicU64,
}

impl Link {
    /// Waits until `bytes` have crossed the link.
    async fn carry(&self, bytes: usize) {
        let micros = bytes as u64 * 1_000_000 / self.bytes_per_second;
        let until = {
            let mut free_at = self.free_at.lock().await;
            *free_at = (*free_at).max(Instant::now()) + Duration::from_micros(micros);
            *free_at
        };
        tokio::time::sleep_until(until).await;
        self.carried.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Proxy {
    /// Starts a proxy on a free port of loopback in front of `to`.
    pub(crate) async fn start(to: u16, bytes_per_second: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let free_at = Mutex::new(Instant::now());
        let link = Arc::new(Link { bytes_per_second, free_at, carried: AtomicU64::new(0) });
        tokio::spawn(accept(listener, to, Arc::clone(&link)));
        Self { port, link }
    }

    /// Bytes that the node behind the proxy has got.
    pub(crate) fn carried(&self) -> u64 {
        self.link.carried.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, to: u16, link: Arc<Link>) {
    loop {
        let (from, _) = listener.accept().await.unwrap();
        let link = Arc::clone(&link);
        tokio::spawn(async move {
            // A node that is not up yet refuses the connection; the peer sees a closed connection and tries again.
            let Ok(node) = TcpStream::connect(("127.0.0.1", to)).await else { return };
            from.set_nodelay(true).unwrap();
            node.set_nodelay(true).unwrap();
            let ((from_read, from_write), (node_read, node_write)) = (from.into_split(), node.into_split());
            // The end of one direction ends both.
            tokio::select! {
                () = forward(from_read, node_write, Some(&link)) => {}
                () = forward(node_read, from_write, None) => {}
            }
        });
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: Option<&Link>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(bytes) = from.read(&mut chunk).await
        && bytes > 0
    {
        if let Some(link) = link {
            link.carry(bytes).await;
        }
        if to.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
}
