//! Follows the whole store with a checkpoint in a file. The next run continues after the last event.
//!
//! Start a node with `make single`, then run `cargo run -p taffrail-client --example follow -- position.txt` and append
//! events with the example `append` in another terminal.

use std::{env, error::Error, fs, io, path::Path};
use taffrail_client::{
    Client, Item, RetryPolicy,
    v1::{self, start::Kind as Start},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args().nth(1).ok_or("usage: follow FILE")?;
    let endpoint = env::var("TAFFRAIL_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:2113".to_owned());
    let client = Client::connect(&endpoint).await?;

    let start = match load(Path::new(&file))? {
        Some(position) => Start::AfterPosition(position),
        None => Start::FromStart(v1::Unit {}),
    };
    let selector = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    let request =
        v1::SubscribeRequest { selector: Some(selector), start: Some(start.into()), ..v1::SubscribeRequest::default() };
    let mut subscription = client.subscribe_resuming(request, RetryPolicy::default()).await?;

    while let Some(item) = subscription.next().await? {
        match item {
            Item::Event(event) => {
                println!("{} {}@{} {}", event.position, event.stream, event.revision, event.r#type);
                // Saved after the work: a crash between work and save repeats the event instead of losing the event.
                save(Path::new(&file), event.position)?;
            }
            // The server examined these positions without finding further events.
            Item::Checkpoint(position) => save(Path::new(&file), position)?,
            Item::Confirmed(_) | Item::CaughtUp(_) | Item::FellBehind(_) => {}
        }
    }
    Ok(())
}

/// Reads the checkpoint; `None` before the first run.
fn load(file: &Path) -> Result<Option<u64>, Box<dyn Error>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().parse()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the checkpoint atomically: a crash leaves the old or the new position.
fn save(file: &Path, position: u64) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, position.to_string())?;
    fs::rename(new, file)
}
