use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

struct Fake {
    ready: AtomicBool,
}

impl Probes for Fake {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }
    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Relaxed) { Ok(()) } else { Err("catching up".into()) }
    }
    fn metrics(&self) -> Result<String, String> {
        Ok("taffrail_ready 0\n".into())
    }
}

async fn started() -> (SocketAddr, Arc<Fake>, CancellationToken) {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let probes = Arc::new(Fake { ready: AtomicBool::new(false) });
    drop(rt::spawn(serve(listener, Arc::clone(&probes) as _, stop.clone())));
    (address, probes, stop)
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn each_path_has_its_answer() {
    let (address, probes, _stop) = started().await;
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    let readiness = get(address, "/readyz").await;
    assert!(readiness.starts_with("HTTP/1.1 503") && readiness.ends_with("catching up\n"), "{readiness}");
    probes.ready.store(true, Ordering::Relaxed);
    assert!(get(address, "/readyz").await.ends_with("ok\n"));
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("version=0.0.4") && metrics.ends_with("taffrail_ready 0\n"), "{metrics}");
    assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn slow_clients_do_not_starve_a_probe() {
    let (address, _probes, _stop) = started().await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
    }
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    // The oldest slow connection made room: the server has closed this connection without an answer.
    let mut rest = Vec::new();
    drop(slow[0].read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
    assert!(begun.elapsed() < HEADER_TIMEOUT, "a timeout instead of the limit ended the slow connection");
}

#[tokio::test]
async fn a_stop_ends_open_connections() {
    let (address, _probes, stop) = started().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    // The server accepts connections in order. An answer on a later connection proves that the idle
    // connection is accepted.
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    stop.cancel();
    let mut rest = Vec::new();
    drop(idle.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
}
