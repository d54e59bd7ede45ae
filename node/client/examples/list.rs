//! Lists the stores of the cluster, and the streams of one store page by page.
//!
//! Start a node with `make single`, then run `cargo run -p taffrail-client --example list`. An argument names another
//! store than the default store: `cargo run -p taffrail-client --example list -- team-b/payments`.

use std::{env, error::Error};
use taffrail_client::{Client, v1};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoint = env::var("TAFFRAIL_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:2113".to_owned());
    let mut client = Client::connect(&endpoint).await?;
    if let Some(store) = env::args().nth(1) {
        client = client.with_store(&store)?;
    }

    for store in client.stores(false).await? {
        println!("store {}/{}: {} events", store.namespace, store.name, store.event_count());
    }

    let mut page_token = String::new();
    loop {
        let page = client.list_streams(v1::ListRequest { page_token, ..v1::ListRequest::default() }).await?;
        for stream in page.streams {
            println!("stream {}: {} events", stream.stream, stream.event_count);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}
