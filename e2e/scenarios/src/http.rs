//! HTTP requests of scenarios.

use taffrail_localkube::command::{self, Run};

/// Returns the body of the page at `url`.
///
/// # Errors
/// When the server does not respond within 10 s, or responds with a status other than success.
pub async fn get(url: &str) -> Result<String, command::Error> {
    let args = ["--silent", "--show-error", "--fail", "--max-time", "10", url];
    Run::new("curl").args(args).output().await
}
