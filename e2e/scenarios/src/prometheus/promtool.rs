//! Checks with `promtool`: metrics with Debian's `promtool`, configurations with the `promtool` built
//! along with Prometheus.

use std::path::Path;
use taffrail_localkube::command::{self, Run};

/// Returns the complaints of Debian's `promtool` about a metrics page, or an empty string.
///
/// # Errors
/// When `promtool` cannot be run.
pub async fn lint(page: String) -> Result<String, command::Error> {
    let output = Run::new("promtool").args(["check", "metrics"]).stdin(page).raw().await?;
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    // A failure without output is also a complaint.
    Ok(if output.status.success() || !words.is_empty() { words } else { output.status.to_string() })
}

/// Checks a configuration with `promtool`. Files named in the configuration must exist. The error
/// contains the complaints.
pub(super) async fn check_config(promtool: &Path, config: &Path) -> Result<(), command::Error> {
    Run::new(promtool).args(["check", "config", "--lint=all", "--lint-fatal"]).args([config]).output().await?;
    Ok(())
}
