//! Appends one event to a stream, with retries.
//!
//! Start a node with `make single`, then run `cargo run -p taffrail-client --example append -- order-1`.

use serde_json::json;
use std::{env, error::Error};
use taffrail_client::{Client, EventBuilder, Expected, RetryPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stream = env::args().nth(1).unwrap_or_else(|| "order-1".to_owned());
    let endpoint = env::var("TAFFRAIL_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:2113".to_owned());
    let client = Client::connect(&endpoint).await?;

    // The builder fixes the id, so all attempts carry the same id and the event is stored at most once.
    let event = EventBuilder::new("OrderPlaced").json(&json!({ "total": 12 })).tag("customer:7").build();
    println!("appending event {}", event.id);

    match client.append_retrying(&stream, Expected::Any, vec![event], RetryPolicy::default()).await {
        Ok(stored) => println!("stored in {stream} at revision {}", stored.last_revision()),
        // An application would keep the id and retry later: the same id proves the outcome.
        Err(taffrail_client::Error::OutcomeUnknown { message }) => println!("stored or not: {message}"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
