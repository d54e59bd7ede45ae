//! `taffrail append`. The command retries with the same event ids within `--timeout`, so that no event is stored twice.

use super::{
    args::{GlobalArgs, expected},
    event_json::{self, Defaults},
    failure::Failure,
    json_text,
    output::Printer,
};
use bytes::Bytes;
use serde::Serialize;
use std::{
    io::{BufRead as _, Read as _, Write as _},
    time::Duration,
};
use taffrail_client::{Client, Expected, RetryPolicy, v1};
use tokio::{io::AsyncReadExt as _, sync::mpsc};
use uuid::Uuid;

/// Maximum length of a line of `--jsonl` in bytes: the largest event in base64, rounded up.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Maximum number of lines read ahead.
const LINES_MAX: usize = 64;
/// Time to wait for the next line before an incomplete batch is sent.
const LINE_WAIT_MAX: Duration = Duration::from_millis(20);

/// Flags of `append`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the stream.
    stream: String,
    /// Event type; with --jsonl the type of lines without a type.
    #[arg(long = "type", value_name = "T", required_unless_present = "jsonl")]
    event_type: Option<String>,
    /// Payload: JSON, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", conflicts_with = "jsonl", allow_hyphen_values = true)]
    data: Option<String>,
    /// MIME type of the payload. Default: application/json for a JSON payload, otherwise empty.
    #[arg(long, value_name = "MIME")]
    content_type: Option<String>,
    /// Metadata of the application: one JSON value.
    #[arg(long, value_name = "JSON", conflicts_with = "jsonl")]
    metadata: Option<String>,
    /// Event id, a random UUID by default. A retry of a failed append must use the same id.
    #[arg(long, value_name = "UUID", conflicts_with = "jsonl")]
    id: Option<Uuid>,
    /// Tag of the event; repeat the flag for more tags.
    #[arg(long = "tag", value_name = "TAG", conflicts_with = "jsonl")]
    tags: Vec<String>,
    /// Expected state of the stream: any state, no event, at least one event, or the revision of the last event. With
    /// --jsonl and a value other than any, each later batch expects the last revision of the batch before.
    #[arg(long, value_parser = expected, default_value = "any", value_name = "any|no-stream|exists|REV")]
    expect: Expected,
    /// Read one event per line of stdin, in the JSON form that `taffrail read --output jsonl` prints.
    #[arg(long)]
    jsonl: bool,
    /// Maximum number of events of one atomic batch of --jsonl, 1 to 16384.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    batch: u32,
}

/// Runs `taffrail append`.
///
/// # Errors
/// The [`Failure`] reported by [`super::run`].
pub async fn run(args: &Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let appender = Appender {
        client: globals.client()?,
        stream: args.stream.clone(),
        policy: RetryPolicy { total: globals.timeout, ..RetryPolicy::default() },
    };
    if args.jsonl {
        return append_lines(args, &appender, read_lines(std::io::stdin())?, printer).await;
    }
    let event = event_of_flags(args).await?;
    appender.append(args.expect, vec![event], printer).await.map(|_| ())
}

/// Appends batches to one stream and prints their results.
struct Appender {
    client: Client,
    stream: String,
    policy: RetryPolicy,
}

impl Appender {
    async fn append(
        &self,
        expected: Expected,
        events: Vec<v1::NewEvent>,
        printer: &mut Printer,
    ) -> Result<u64, Failure> {
        let count = events.len();
        let answer = self.client.append_retrying(&self.stream, expected, events, self.policy).await?;
        printer.item(|| describe(&self.stream, count, &answer), || json(&self.stream, count, &answer))?;
        printer.flush()?;
        Ok(answer.last_revision())
    }
}

fn describe(stream: &str, count: usize, a: &v1::AppendResponse) -> String {
    let events = if count == 1 { "event" } else { "events" };
    let before = if a.deduplicated { " (had been appended before)" } else { "" };
    format!(
        "{count} {events} in {stream}: revisions {} to {}, positions {} to {}{before}",
        a.first_revision(),
        a.last_revision(),
        a.first_position(),
        a.last_position()
    )
}

/// A stored batch as JSON.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    event_count: usize,
    first_revision: Option<u64>,
    last_revision: Option<u64>,
    first_position: Option<u64>,
    last_position: Option<u64>,
    deduplicated: bool,
    recorded_at: String,
}

fn json(stream: &str, count: usize, a: &v1::AppendResponse) -> String {
    json_text::line(&Line {
        stream,
        event_count: count,
        first_revision: a.first_revision,
        last_revision: a.last_revision,
        first_position: a.first_position,
        last_position: a.last_position,
        deduplicated: a.deduplicated,
        recorded_at: event_json::time(a.recorded_at.as_ref()),
    })
}

/// Builds the event that the flags describe.
async fn event_of_flags(args: &Args) -> Result<v1::NewEvent, Failure> {
    let data = match args.data.as_deref() {
        None => Bytes::new(),
        Some("-") => {
            let mut data = Vec::new();
            tokio::io::stdin().take(LINE_BYTES_MAX).read_to_end(&mut data).await?;
            data.into()
        }
        Some(text) => match text.strip_prefix('@') {
            Some(path) => tokio::fs::read(path).await.map_err(|e| Failure::Local(format!("{path}: {e}")))?.into(),
            None if args.content_type.is_none() && !json_text::is_json(text.as_bytes()) => {
                return Err(Failure::Usage(format!(
                    "--data: {text:?} is not JSON; give --content-type for a payload of another type"
                )));
            }
            None => Bytes::copy_from_slice(text.as_bytes()),
        },
    };
    if let Some(metadata) = &args.metadata
        && !json_text::is_json(metadata.as_bytes())
    {
        return Err(Failure::Usage("--metadata: the value is not JSON".to_owned()));
    }
    let guessed = || if json_text::is_json(&data) { "application/json".to_owned() } else { String::new() };
    Ok(v1::NewEvent {
        id: args.id.unwrap_or_else(taffrail_runtime::new_uuid).to_string(),
        r#type: args.event_type.clone().unwrap_or_default(),
        content_type: args.content_type.clone().unwrap_or_else(guessed),
        data,
        metadata: args.metadata.clone().unwrap_or_default().into(),
        tags: args.tags.clone(),
        ..v1::NewEvent::default()
    })
}

/// Appends the lines of `input` in batches, in order, until the input ends or an append fails.
async fn append_lines(
    args: &Args,
    appender: &Appender,
    mut input: mpsc::Receiver<InputLine>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let defaults = Defaults { event_type: args.event_type.clone(), content_type: args.content_type.clone() };
    let (mut expect, mut number, mut done) = (args.expect, 0_u64, 0_u64);
    loop {
        let (batch, ended) = next_batch(&mut input, &mut number, args.batch as usize, &defaults).await?;
        if !batch.is_empty() {
            let events = batch.len();
            let last = appender.append(expect, batch, printer).await.inspect_err(|_| {
                // A failed write to stderr cannot be reported anywhere.
                drop(writeln!(
                    std::io::stderr(),
                    "the first {done} events are stored; the error below is about the next {events} events"
                ));
            })?;
            done += events as u64;
            if expect != Expected::Any {
                expect = Expected::Exact(last);
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// A line of input, or the error that ended the input.
type InputLine = std::io::Result<Vec<u8>>;

/// Reads lines on a separate thread, because a blocking read of stdin would delay the end of the process.
fn read_lines(input: impl std::io::Read + Send + 'static) -> Result<mpsc::Receiver<InputLine>, Failure> {
    let (tx, rx) = mpsc::channel(LINES_MAX);
    taffrail_runtime::thread("stdin", move || {
        let mut input = std::io::BufReader::new(input);
        loop {
            let mut line = Vec::new();
            match (&mut input).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    if tx.blocking_send(Ok(line)).is_err() {
                        return;
                    }
                }
                Err(e) => {
                    // A failed send means that the receiver is gone, so nobody waits for the error.
                    drop(tx.blocking_send(Err(e)));
                    return;
                }
            }
        }
    })?;
    Ok(rx)
}

/// Decodes lines until the batch has `most` events, no line arrives within [`LINE_WAIT_MAX`], or the input ends.
/// Returns the batch and whether the input ended.
async fn next_batch(
    input: &mut mpsc::Receiver<InputLine>,
    number: &mut u64,
    most: usize,
    defaults: &Defaults,
) -> Result<(Vec<v1::NewEvent>, bool), Failure> {
    let mut batch = Vec::new();
    while batch.len() < most {
        let line = if batch.is_empty() {
            input.recv().await
        } else {
            match tokio::time::timeout(LINE_WAIT_MAX, input.recv()).await {
                Ok(line) => line,
                Err(_) => return Ok((batch, false)),
            }
        };
        let Some(line) = line else { return Ok((batch, true)) };
        let line = line?;
        *number += 1;
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(Failure::Usage(format!("line {number}: longer than {LINE_BYTES_MAX} bytes")));
        }
        let text =
            std::str::from_utf8(&line).map_err(|_| Failure::Usage(format!("line {number}: is not valid UTF-8")))?;
        if !text.trim().is_empty() {
            batch.push(event_json::decode(text, defaults).map_err(|e| Failure::Usage(format!("line {number}: {e}")))?);
        }
    }
    Ok((batch, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn batches(input: &str, most: usize) -> Result<Vec<usize>, Failure> {
        let defaults = Defaults { event_type: Some("T".into()), content_type: None };
        let mut reader = read_lines(std::io::Cursor::new(input.to_owned()))?;
        let (mut number, mut sizes) = (0, Vec::new());
        loop {
            let (batch, ended) = next_batch(&mut reader, &mut number, most, &defaults).await?;
            if !batch.is_empty() {
                sizes.push(batch.len());
            }
            if ended {
                return Ok(sizes);
            }
        }
    }

    #[test]
    fn a_stored_batch_has_the_fixed_form() {
        let answer = v1::AppendResponse {
            first_revision: Some(1),
            last_revision: Some(2),
            first_position: Some(10),
            last_position: Some(11),
            deduplicated: true,
            recorded_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 1_000 }),
        };
        assert_eq!(
            json("a\"b", 2, &answer),
            "{\"stream\":\"a\\\"b\",\"event_count\":2,\"first_revision\":1,\"last_revision\":2,\"first_position\":10,\
             \"last_position\":11,\"deduplicated\":true,\"recorded_at\":\"2023-11-14T22:13:20.000001Z\"}"
        );
    }

    #[tokio::test]
    async fn lines_become_batches() {
        assert_eq!(batches("{}\n{}\n\n{}\n{}\n{}", 2).await.unwrap(), [2, 2, 1]);
        assert_eq!(batches("", 2).await.unwrap(), [0_usize; 0]);
        assert_eq!(batches("{}\n{}\n", 2).await.unwrap(), [2]);
    }

    #[tokio::test]
    async fn a_bad_line_is_named_by_its_number() {
        let failure = batches("{}\n\n{\"typo\":1}\n", 10).await.unwrap_err();
        assert_eq!(failure.to_string(), "line 3: typo: unknown field");
        assert_eq!(failure.exit_code(), 2);
    }
}
