//! The log: JSON lines for machines, text for a terminal. Spans carry node, request id and store; a line about a group
//! carries the term.

use crate::config::{Config, LogFormat, log_filter};
use std::io::IsTerminal;
use tracing::{Span, Subscriber, field};
use tracing_subscriber::{
    EnvFilter, Layer, fmt, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// Installs the subscriber of the process. The configuration has checked the filter already.
pub fn install(config: &Config) {
    let filter = log_filter::filter(config.log_level, &config.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match config.log_format {
        LogFormat::Json => registry.with(json(std::io::stdout)).try_init(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colours);
            registry.with(lines).try_init()
        }
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "a subscriber was installed before");
    }
}

/// Writes one object per line, with all enclosing spans: the innermost span alone would not name the node.
fn json<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(true).with_writer(writer)
}

/// The span around all work of a node. The field `node` is recorded once the node has an id. The span has level ERROR, so
/// that every filter enables it.
#[must_use]
pub fn node_span(host: &str) -> Span {
    tracing::error_span!("node", host, node = field::Empty)
}

/// Logs the effective configuration, once. The configuration holds no secrets.
pub fn show(config: &Config) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = ?config, "the effective configuration");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::ServeArgs;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use taffrail_runtime as rt;
    use tracing::Instrument;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs.
    fn logged(work: impl Future<Output = ()>) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(json(move || writer.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tracing::subscriber::with_default(subscriber, || runtime.block_on(work));
        let bytes = lines.0.lock().unwrap().clone();
        bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
    }

    #[test]
    fn a_line_names_node_request_and_store_also_from_a_task_of_the_request() {
        let work = async {
            Span::current().record("node", 7);
            let call = tracing::info_span!("call", method = "Append", request_id = "r1", store = field::Empty);
            let request = async {
                let store = taffrail_core::names::StoreName::new("default", "orders").unwrap();
                taffrail_gateway::instrument::record_store(&store);
                rt::spawn(async { tracing::info!(term = 3, "something happened") }).await.unwrap();
            };
            request.instrument(call).await;
        };
        let lines = logged(async { work.instrument(node_span("main-0")).await });
        let line = &lines[0];
        assert_eq!((&line["message"], &line["term"]), (&"something happened".into(), &3.into()));
        let spans = line["spans"].as_array().unwrap();
        assert_eq!((&spans[0]["name"], &spans[0]["node"]), (&"node".into(), &7.into()), "{line}");
        assert_eq!((&spans[1]["request_id"], &spans[1]["store"]), (&"r1".into(), &"default/orders".into()), "{line}");
    }

    #[test]
    fn the_effective_configuration_is_logged() {
        let args = ServeArgs { single: true, data_dir: Some("/somewhere".into()), ..ServeArgs::default() };
        let env = [("TAFFRAIL_LISTEN_CLIENTS".into(), "127.0.0.1:7".into())];
        let config = Config::load(&args, env.into_iter()).unwrap();
        let lines = logged(async { show(&config) });
        assert_eq!(lines.len(), 1);
        let told = lines[0]["config"].as_str().unwrap();
        assert!(told.contains("/somewhere") && told.contains("127.0.0.1:7"), "{told}");
    }
}
