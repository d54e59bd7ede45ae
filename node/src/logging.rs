//! Log lines: JSON for machines, text for a terminal. Spans carry node, request id and store; whoever logs about a group
//! says its term.

use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use tracing::{Span, Subscriber, field, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{Directive, ParseError},
    fmt,
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// A part of `log.filter` that is no directive.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no directive, which is TARGET=LEVEL, LEVEL or TARGET, for example openraft=debug: {source}")]
pub struct BadDirective {
    text: String,
    #[source]
    source: ParseError,
}

/// What is logged: what we say, at `level`; others at INFO at most, since their DEBUG would drown ours; openraft at WARN at
/// most, since it reports every state change of every group at INFO. A quieter level holds for all of them. `directives`
/// win, each for the target that it names, so openraft says more only where it is named.
///
/// # Errors
/// The first part of `directives` that is no directive.
pub fn filter(level: LevelFilter, directives: &str) -> Result<EnvFilter, BadDirective> {
    let built = [
        level.min(LevelFilter::INFO).to_string(),
        format!("openraft={}", level.min(LevelFilter::WARN)),
        // A target is a prefix: this is all of our crates.
        format!("taffrail={level}"),
    ];
    let given = directives.split(',').map(str::trim).filter(|text| !text.is_empty());
    built.iter().map(String::as_str).chain(given).try_fold(EnvFilter::default(), |filter, text| {
        let directive: Directive = text.parse().map_err(|source| BadDirective { text: text.to_owned(), source })?;
        Ok(filter.add_directive(directive))
    })
}

/// Installs the subscriber of the process. The filter was checked with the configuration.
pub fn install(config: &Config) {
    let filter = filter(config.log_level, &config.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
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
    fn the_effective_configuration_is_said() {
        let args = ServeArgs { single: true, data_dir: Some("/somewhere".into()), ..ServeArgs::default() };
        let env = [("TAFFRAIL_LISTEN_CLIENTS".into(), "127.0.0.1:7".into())];
        let config = Config::load(&args, env.into_iter()).unwrap();
        let lines = logged(async { show(&config) });
        assert_eq!(lines.len(), 1);
        let told = lines[0]["config"].as_str().unwrap();
        assert!(told.contains("/somewhere") && told.contains("127.0.0.1:7"), "{told}");
    }

    /// Which of three sources is heard, and down to which level.
    fn heard(level: LevelFilter, directives: &str) -> [String; 3] {
        macro_rules! say {
            ($($target:literal),*) => {$(
                tracing::error!(target: $target, "e");
                tracing::warn!(target: $target, "w");
                tracing::info!(target: $target, "i");
                tracing::debug!(target: $target, "d");
                tracing::trace!(target: $target, "t");
            )*};
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = filter(level, directives).unwrap();
        let subscriber = tracing_subscriber::registry().with(filter).with(json(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            say!("taffrail_raft::group", "openraft::core::raft_core", "h2::codec");
        });
        let bytes = lines.0.lock().unwrap().clone();
        let mut heard = <[String; 3]>::default();
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            let source =
                ["taffrail", "openraft", "h2"].iter().position(|t| line["target"].as_str().unwrap().starts_with(t));
            heard[source.unwrap()].push_str(line["message"].as_str().unwrap());
        }
        heard
    }

    #[test]
    fn a_level_neither_floods_nor_silences_what_it_does_not_name() {
        for (level, said) in [
            (LevelFilter::OFF, ["", "", ""]),
            (LevelFilter::ERROR, ["e", "e", "e"]),
            (LevelFilter::WARN, ["ew", "ew", "ew"]),
            (LevelFilter::INFO, ["ewi", "ew", "ewi"]),
            (LevelFilter::DEBUG, ["ewid", "ew", "ewi"]),
            (LevelFilter::TRACE, ["ewidt", "ew", "ewi"]),
        ] {
            assert_eq!(heard(level, ""), said, "{level}");
        }
    }

    #[test]
    fn a_directive_wins_for_what_it_names_alone() {
        for (directives, said) in [
            ("openraft=debug", ["ewi", "ewid", "ewi"]),
            ("openraft=off", ["ewi", "", "ewi"]),
            ("taffrail_raft=trace, h2=error", ["ewidt", "ew", "e"]),
            ("debug", ["ewi", "ew", "ewid"]),
            ("taffrail=warn,,", ["ew", "ew", "ewi"]),
            ("[call{store}]=trace", ["ewi", "ew", "ewi"]),
        ] {
            assert_eq!(heard(LevelFilter::INFO, directives), said, "{directives}");
        }
    }

    #[test]
    fn what_is_no_directive_is_named() {
        let bad = filter(LevelFilter::INFO, "openraft=debug,h2=loud").unwrap_err().to_string();
        assert!(bad.starts_with("\"h2=loud\" is no directive"), "{bad}");
    }
}
