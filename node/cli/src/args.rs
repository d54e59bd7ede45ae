//! Flags that every client command has, and the values that flags take.

use super::failure::Failure;
use std::time::Duration;
use taffrail_client::{Client, ConnectOptions, Expected};

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// Flags of every client command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection and output")]
pub struct GlobalArgs {
    /// Address of any node, or of a Service.
    #[arg(long, global = true, env = "TAFFRAIL_ENDPOINT", default_value = "http://127.0.0.1:2113", value_name = "URL")]
    pub endpoint: String,
    /// Store: NAME or NAMESPACE/NAME. Without it the address decides, then the cluster's default store.
    #[arg(long, global = true, env = "TAFFRAIL_STORE", value_name = "STORE")]
    pub store: Option<String>,
    /// Form of the output: table on a terminal, jsonl in a pipe.
    #[arg(long, global = true, env = "TAFFRAIL_OUTPUT", value_enum, value_name = "FORM")]
    pub output: Option<Output>,
    /// Time for each call, and for an append with all its retries.
    #[arg(long, global = true, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}

impl GlobalArgs {
    /// A client of the endpoint and store.
    ///
    /// # Errors
    /// When the endpoint or the store name cannot be used.
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

/// `250ms`, `10s`, `5m`, `1h`.
///
/// # Errors
/// What a time looks like.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 250ms, 10s, 5m or 1h");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    match ms {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        Some(_) => Err("must be more than nothing".to_owned()),
        None => Err(wrong()),
    }
}

/// `any`, `no-stream`, `exists` or a revision.
///
/// # Errors
/// What is allowed.
pub fn expected(text: &str) -> Result<Expected, String> {
    match text {
        "any" => Ok(Expected::Any),
        "no-stream" => Ok(Expected::NoStream),
        "exists" => Ok(Expected::StreamExists),
        number => number
            .parse()
            .map(Expected::Exact)
            .map_err(|_| format!("{text:?} is none of any, no-stream, exists, or a revision")),
    }
}

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Before the first event.
    Start,
    /// After the last event.
    End,
    /// At this revision (stream) or position (all), inclusive.
    At(u64),
}

/// `start`, `end` or a number.
///
/// # Errors
/// What is allowed.
pub fn from(text: &str) -> Result<From, String> {
    match text {
        "start" => Ok(From::Start),
        "end" => Ok(From::End),
        number => number.parse().map(From::At).map_err(|_| format!("{text:?} is none of start, end, or a number")),
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
        for bad in ["", "10", "s", "1.5s", "0s", "10 s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
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
        assert_eq!(from("start"), Ok(From::Start));
        assert_eq!(from("end"), Ok(From::End));
        assert_eq!(from("12"), Ok(From::At(12)));
        assert!(from("begin").is_err());
    }
}
