//! Flags of every client command, and parsers of flag values.

use super::failure::Failure;
use jiff::fmt::friendly::SpanParser;
use std::time::Duration;
use taffrail_client::{
    Client, ConnectOptions, Expected,
    v1::{self, start::Kind},
};

/// Format of the results on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Aligned columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
}

/// Flags of every client command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection and output")]
pub struct GlobalArgs {
    /// Address of any node, or of a Kubernetes Service in front of the nodes: HOST:PORT, optionally after http://
    #[arg(long, global = true, env = "TAFFRAIL_ENDPOINT", default_value = "http://127.0.0.1:2113", value_name = "URL")]
    pub endpoint: String,
    /// Store: NAME or NAMESPACE/NAME. Default: the store whose Service is the host name of --endpoint, otherwise the
    /// default store of the cluster.
    #[arg(long, global = true, env = "TAFFRAIL_STORE", value_name = "STORE")]
    pub store: Option<String>,
    /// Format of the output. Default: table on a terminal, jsonl in a pipe or file.
    #[arg(long, global = true, env = "TAFFRAIL_OUTPUT", value_enum, value_name = "FORM")]
    pub output: Option<Output>,
    /// Time limit of each call with a single answer, and of an append with all its retries. Reads, subscriptions and
    /// watches have no limit.
    #[arg(long, global = true, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}

impl GlobalArgs {
    /// Creates a client of the endpoint and the store; the client connects at its first call.
    ///
    /// # Errors
    /// [`Failure::Client`] if the endpoint or the name of the store is not valid.
    pub fn client(&self) -> Result<Client, Failure> {
        let options =
            ConnectOptions { connect_timeout: self.timeout.min(Duration::from_secs(5)), ..Default::default() };
        let client = Client::connect_lazy(&self.endpoint, options)?.with_timeout(self.timeout);
        Ok(match &self.store {
            Some(store) => client.with_store(store)?,
            None => client,
        })
    }
}

/// Parses a duration as [jiff's friendly format](jiff::fmt::friendly) spells it: `250ms`, `10s`, `5m`,
/// `1h`, `1m30s`, `1.5s`.
///
/// # Errors
/// A sentence without the name of the flag, which clap adds: `text` is not a duration, the duration is zero, or the
/// number of milliseconds does not fit in 64 bits.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 250ms, 10s, 5m or 1h");
    let time = SpanParser::new().parse_unsigned_duration(text).map_err(|_| wrong())?;
    if u64::try_from(time.as_millis()).is_err() {
        return Err(wrong());
    }
    if time.is_zero() {
        return Err("must be greater than zero".to_owned());
    }
    Ok(time)
}

/// Parses the expected state of a stream: `any`, `no-stream`, `exists` or a revision.
///
/// # Errors
/// A sentence with the allowed values.
pub fn expected(text: &str) -> Result<Expected, String> {
    match text {
        "any" => Ok(Expected::Any),
        "no-stream" => Ok(Expected::NoStream),
        "exists" => Ok(Expected::StreamExists),
        number => number
            .parse()
            .map(Expected::Exact)
            .map_err(|_| format!("{text:?} is not any, no-stream, exists or a revision")),
    }
}

/// Start of a read or a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// Before the first event.
    Start,
    /// After the last event.
    End,
    /// At this revision (stream) or position (all), inclusive.
    Number(u64),
}

impl StartAt {
    /// Converts the start to the message of the protocol: a number is a position of `all`, or a revision of a stream.
    #[must_use]
    pub fn to_proto(self, all: bool) -> v1::Start {
        let kind = match self {
            Self::Start => Kind::FromStart(v1::Unit {}),
            Self::End => Kind::FromEnd(v1::Unit {}),
            Self::Number(n) if all => Kind::FromPosition(n),
            Self::Number(n) => Kind::FromRevision(n),
        };
        kind.into()
    }
}

/// Parses the start of a read or a subscription: `start`, `end` or a number.
///
/// # Errors
/// A sentence with the allowed values.
pub fn start_at(text: &str) -> Result<StartAt, String> {
    match text {
        "start" => Ok(StartAt::Start),
        "end" => Ok(StartAt::End),
        number => number.parse().map(StartAt::Number).map_err(|_| format!("{text:?} is not start, end or a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("18446744073709551615ms"), Ok(Duration::from_millis(u64::MAX)));
        for bad in ["", "10", "s", "10x", "-10s", "10s ago", "1mo", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(bad), Err(format!("{bad:?} is not a duration such as 250ms, 10s, 5m or 1h")));
        }
        assert_eq!(duration("0s"), Err("must be greater than zero".to_owned()));
        assert!(duration("9223372036854775807s").is_err(), "more milliseconds than 64 bits hold");
    }

    #[test]
    fn expectations_parse() {
        assert_eq!(expected("any"), Ok(Expected::Any));
        assert_eq!(expected("no-stream"), Ok(Expected::NoStream));
        assert_eq!(expected("exists"), Ok(Expected::StreamExists));
        assert_eq!(expected("7"), Ok(Expected::Exact(7)));
        assert!(expected("-1").is_err());
    }

    #[test]
    fn starts_parse() {
        assert_eq!(start_at("start"), Ok(StartAt::Start));
        assert_eq!(start_at("end"), Ok(StartAt::End));
        assert_eq!(start_at("12"), Ok(StartAt::Number(12)));
        assert!(start_at("begin").is_err());
    }
}
