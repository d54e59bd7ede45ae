//! Log lines: JSON for machines, text for a terminal. Spans carry node, request id and store; whoever logs about a group
//! says its term.

use crate::config::{Config, LogFormat};
use tracing::{Span, Subscriber, field};
use tracing_subscriber::{
    EnvFilter, Layer, fmt, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// Installs the subscriber of the process. The filter was checked with the configuration.
pub fn install(config: &Config) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    // openraft reports every state change at INFO; with many groups that drowns everything else
    let filter = ["openraft=warn"].iter().filter_map(|d| d.parse().ok()).fold(filter, EnvFilter::add_directive);
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match config.log_format {
        LogFormat::Json => registry.with(json(std::io::stdout)).try_init(),
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false)).try_init(),
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "a subscriber was installed before");
    }
}

/// One object a line, with all spans around it: the innermost alone would not name the node.
fn json<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(true).with_writer(writer)
}

/// The span of everything that a node does. `node` is recorded once the node has an id; the level is that of the gravest
/// events, so that the span is there under every filter.
#[must_use]
pub fn node_span(host: &str) -> Span {
    tracing::error_span!("node", host, node = field::Empty)
}

/// Says once what the node was told, whatever file, variable or flag it came from. Nothing in it is secret: credentials
/// are files, and only their paths would be named.
pub fn show(config: &Config) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = ?config, "the effective configuration");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::args::ServeArgs, rt};
    use std::{
        io,
        sync::{Arc, Mutex},
    };
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

    /// What is logged meanwhile, one JSON value a line.
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
                crate::gateway::calls::of_store(&taffrail_core::names::StoreName::new("default", "orders").unwrap());
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
    fn the_effective_configuration_is_said() {
        let args = ServeArgs { single: true, data_dir: Some("/somewhere".into()), ..ServeArgs::default() };
        let env = [("TAFFRAIL_LISTEN_CLIENTS".into(), "127.0.0.1:7".into())];
        let config = Config::load(&args, env.into_iter()).unwrap();
        let lines = logged(async { show(&config) });
        assert_eq!(lines.len(), 1);
        let told = lines[0]["config"].as_str().unwrap();
        assert!(told.contains("/somewhere") && told.contains("127.0.0.1:7"), "{told}");
    }
}
