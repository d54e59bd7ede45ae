//! Log lines: JSON for machines, text for a terminal. Spans carry node, store, term and request id.

use crate::config::{Config, LogFormat};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Installs the subscriber of the process. The filter was checked with the configuration.
pub fn install(config: &Config) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    // openraft reports every state change at INFO; with many groups that drowns everything else
    let filter = ["openraft=warn"].iter().filter_map(|d| d.parse().ok()).fold(filter, EnvFilter::add_directive);
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match config.log_format {
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false))
            .try_init(),
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false)).try_init(),
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "a subscriber was installed before");
    }
}
