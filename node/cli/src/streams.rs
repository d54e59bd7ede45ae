//! `taffrail streams`: the streams of a store.

use super::{args::GlobalArgs, failure::Failure, json_text, output::Printer};
use serde::Serialize;
use taffrail_client::v1;

/// Commands of `taffrail streams`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List the streams of the store by name.
    List {
        /// List only streams whose name begins with this prefix.
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// Maximum number of streams; 0 means all.
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: u64,
    },
}

/// Runs a command of `taffrail streams`.
///
/// # Errors
/// The [`Failure`] reported by [`super::run`].
pub async fn run(command: &Command, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let Command::List { prefix, limit } = command;
    let client = globals.client()?;
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    let most = if *limit == 0 { usize::MAX } else { usize::try_from(*limit).unwrap_or(usize::MAX) };
    loop {
        let request = v1::ListRequest { prefix: prefix.clone(), page_token, ..v1::ListRequest::default() };
        let page = client.list_streams(request).await?;
        rows.extend(page.streams.into_iter().map(row));
        page_token = page.next_page_token;
        if page_token.is_empty() || rows.len() >= most {
            break;
        }
    }
    rows.truncate(most);
    Ok(printer.list(&["STREAM", "EVENTS", "LAST REVISION"], rows)?)
}

/// The JSON form of a stream.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    event_count: u64,
    last_revision: u64,
}

fn row(s: v1::StreamInfo) -> (Vec<String>, String) {
    let json = json_text::line(&Line { stream: &s.stream, event_count: s.event_count, last_revision: s.last_revision });
    (vec![s.stream, s.event_count.to_string(), s.last_revision.to_string()], json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_the_fixed_form() {
        let (cells, json) = row(v1::StreamInfo { stream: "a\"b".into(), event_count: 3, last_revision: 2 });
        assert_eq!(cells, ["a\"b", "3", "2"]);
        assert_eq!(json, "{\"stream\":\"a\\\"b\",\"event_count\":3,\"last_revision\":2}");
    }
}
