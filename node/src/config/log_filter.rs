//! The filter of the log: [`filter`] combines the level of `log.level` with the directives of `log.filter`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter,
    filter::{Directive, ParseError},
};

/// An invalid directive in `log.filter`.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no directive (TARGET=LEVEL, LEVEL or TARGET; for example openraft=debug): {source}")]
pub(crate) struct BadDirective {
    text: String,
    #[source]
    source: ParseError,
}

/// Builds the filter of the log.
///
/// - The node's own crates log at `level`.
/// - Libraries log at INFO at most, because their DEBUG lines would hide the node's own.
/// - openraft logs at WARN at most, because the INFO lines of openraft report each state change of each group.
/// - `directives` override these three levels, each directive for the target in the directive.
///
/// # Errors
/// The first part of `directives` that does not parse.
pub(crate) fn filter(level: LevelFilter, directives: &str) -> Result<EnvFilter, BadDirective> {
    let built = [
        level.min(LevelFilter::INFO).to_string(),
        format!("openraft={}", level.min(LevelFilter::WARN)),
        // A target is a prefix: `taffrail` covers all crates of the node.
        format!("taffrail={level}"),
    ];
    let given = directives.split(',').map(str::trim).filter(|text| !text.is_empty());
    built.iter().map(String::as_str).chain(given).try_fold(EnvFilter::default(), |filter, text| {
        let directive: Directive = text.parse().map_err(|source| BadDirective { text: text.to_owned(), source })?;
        Ok(filter.add_directive(directive))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt},
    };

    /// Sources of log lines, by the prefix of their target.
    const SOURCES: [&str; 3] = ["taffrail", "openraft", "h2"];

    /// Records the first letter of each level, by source.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<[String; 3]>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let target = event.metadata().target();
            let source = SOURCES.iter().position(|prefix| target.starts_with(prefix)).unwrap();
            let level = event.metadata().level().as_str().to_lowercase();
            self.0.lock().unwrap()[source].push_str(&level[..1]);
        }
    }

    /// The levels that pass the filter, for each of [`SOURCES`].
    fn heard(level: LevelFilter, directives: &str) -> [String; 3] {
        macro_rules! log {
            ($($target:literal),*) => {$(
                tracing::error!(target: $target, "message");
                tracing::warn!(target: $target, "message");
                tracing::info!(target: $target, "message");
                tracing::debug!(target: $target, "message");
                tracing::trace!(target: $target, "message");
            )*};
        }
        let heard = Heard::default();
        let subscriber = tracing_subscriber::registry().with(filter(level, directives).unwrap()).with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            log!("taffrail_raft::group", "openraft::core::raft_core", "h2::codec");
        });
        heard.0.lock().unwrap().clone()
    }

    #[test]
    fn the_level_bounds_libraries_and_openraft() {
        for (level, expected) in [
            (LevelFilter::OFF, ["", "", ""]),
            (LevelFilter::ERROR, ["e", "e", "e"]),
            (LevelFilter::WARN, ["ew", "ew", "ew"]),
            (LevelFilter::INFO, ["ewi", "ew", "ewi"]),
            (LevelFilter::DEBUG, ["ewid", "ew", "ewi"]),
            (LevelFilter::TRACE, ["ewidt", "ew", "ewi"]),
        ] {
            assert_eq!(heard(level, ""), expected, "{level}");
        }
    }

    #[test]
    fn a_directive_overrides_the_level_for_its_target_only() {
        for (directives, expected) in [
            ("openraft=debug", ["ewi", "ewid", "ewi"]),
            ("openraft=off", ["ewi", "", "ewi"]),
            ("taffrail_raft=trace, h2=error", ["ewidt", "ew", "e"]),
            ("debug", ["ewi", "ew", "ewid"]),
            ("taffrail=warn,,", ["ew", "ew", "ewi"]),
            ("[call{store}]=trace", ["ewi", "ew", "ewi"]),
        ] {
            assert_eq!(heard(LevelFilter::INFO, directives), expected, "{directives}");
        }
    }

    #[test]
    fn a_part_that_does_not_parse_is_named() {
        let bad = filter(LevelFilter::INFO, "openraft=debug,h2=loud").unwrap_err().to_string();
        assert!(bad.starts_with("\"h2=loud\" is no directive"), "{bad}");
    }
}
