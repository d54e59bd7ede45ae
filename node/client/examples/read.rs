//! Reads a stream from its first event and prints the events.
//!
//! Start a node with `make single`, append events with the example `append`, then run `cargo run -p taffrail-client
//! --example read -- order-1`.

use std::{env, error::Error};
use taffrail_client::{Client, v1};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stream = env::args().nth(1).unwrap_or_else(|| "order-1".to_owned());
    let endpoint = env::var("TAFFRAIL_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:2113".to_owned());
    let client = Client::connect(&endpoint).await?;

    let selector = v1::Selector { kind: Some(v1::selector::Kind::Stream(stream)) };
    let request = v1::ReadRequest { selector: Some(selector), ..v1::ReadRequest::default() };
    let mut events = client.read(request).await?;
    while let Some(event) = events.next().await? {
        println!("{} {} {}", event.revision, event.r#type, String::from_utf8_lossy(&event.data));
    }
    Ok(())
}
