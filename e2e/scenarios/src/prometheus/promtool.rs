//! `promtool`: Debian's for metrics, the one that was built with Prometheus for its configuration.

use std::path::Path;
use taffrail_localkube::command::{self, Run};

/// What Debian's `promtool` has to say against a page of metrics; empty when there is nothing.
///
/// # Errors
/// When it cannot be run.
pub async fn lint(page: String) -> Result<String, command::Error> {
    let output = Run::new("promtool").args(["check", "metrics"]).stdin(page).raw().await?;
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    // A failure without words is one too.
    Ok(if output.status.success() || !words.is_empty() { words } else { output.status.to_string() })
}

/// Fails when `promtool` does not accept the configuration, in whose words it fails. Files that it names must exist.
pub(super) async fn check_config(promtool: &Path, config: &Path) -> Result<(), command::Error> {
    Run::new(promtool).args(["check", "config", "--lint=all", "--lint-fatal"]).args([config]).output().await?;
    Ok(())
}
