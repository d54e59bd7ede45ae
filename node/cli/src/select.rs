//! Selection of one stream or of the whole store, shared by `read` and `subscribe`.

use super::failure::Failure;
use taffrail_client::v1;

/// The events of a command: one stream, or every stream of the store.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "selector", required = true, multiple = false)]
pub struct Selector {
    /// Name of the stream.
    #[arg(group = "selector")]
    pub stream: Option<String>,
    /// Select every stream of the store, in commit order.
    #[arg(long, group = "selector")]
    pub all: bool,
}

impl Selector {
    /// Converts the flags to the message of the protocol.
    ///
    /// # Errors
    /// [`Failure::Usage`] if neither a stream nor `--all` is given.
    pub fn to_proto(&self) -> Result<v1::Selector, Failure> {
        let kind = match (&self.stream, self.all) {
            (Some(stream), _) => v1::selector::Kind::Stream(stream.clone()),
            (None, true) => v1::selector::Kind::All(v1::Unit {}),
            (None, false) => {
                return Err(Failure::Usage("no events are selected: name a stream or give --all".to_owned()));
            }
        };
        Ok(v1::Selector { kind: Some(kind) })
    }
}

/// Returns the number of a feature for the field `needs` of a request.
#[must_use]
pub fn number(feature: v1::Feature) -> u32 {
    i32::from(feature).unsigned_abs()
}

/// Formats an event as a line for people. Payloads are cut at 120 characters; binary payloads are shown by their size.
#[must_use]
pub fn summary(e: &v1::RecordedEvent) -> String {
    const SHOWN: usize = 120;
    let data = match std::str::from_utf8(&e.data) {
        Ok(text) if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t' && c != '\r') => {
            let mut text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if text.chars().count() > SHOWN {
                text = text.chars().take(SHOWN).collect::<String>() + "...";
            }
            text
        }
        Ok(_) | Err(_) => format!("({} bytes)", e.data.len()),
    };
    let at = super::event_json::time(e.recorded_at.as_ref());
    format!("{}  {}  {}@{}  {}  {data}", at, e.position, e.stream, e.revision, e.r#type).trim_end().to_owned()
}
