//! `taffrail subscribe`: follows one stream or the whole store. The command resumes after a lost connection; Ctrl-C
//! ends the command with exit code 0.

use super::{
    args::{GlobalArgs, Output, StartAt, duration, start_at},
    event_json,
    failure::Failure,
    output::Printer,
    select::{self, Selector},
};
use std::{io::Write as _, time::Duration};
use taffrail_client::{Item, RetryPolicy, Subscription, v1};

/// Flags of `subscribe`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selector: Selector,
    /// First event, inclusive: start, end, a revision of the stream, or with --all a position.
    #[arg(long, value_parser = start_at, default_value = "start", value_name = "start|end|N")]
    from: StartAt,
    /// Also print the events of streams whose names begin with `$`; with --all.
    #[arg(long, requires = "all")]
    include_system: bool,
    /// Exit after this number of events. Default: no limit.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Exit when all stored events have been delivered.
    #[arg(long)]
    until_caught_up: bool,
    /// Also print confirmations, checkpoints, and the moments at which the subscription catches up or falls behind.
    #[arg(long)]
    marks: bool,
    /// Exit with an error when no node answers for this time.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME")]
    give_up_after: Duration,
}

impl Args {
    fn request(&self) -> Result<v1::SubscribeRequest, Failure> {
        Ok(v1::SubscribeRequest {
            selector: Some(self.selector.to_proto()?),
            start: Some(self.from.to_proto(self.selector.all)),
            include_system: self.include_system,
            needs: self.include_system.then_some(v1::Feature::IncludeSystem).map(select::number).into_iter().collect(),
        })
    }
}

/// Runs `taffrail subscribe`.
///
/// # Errors
/// The [`Failure`] reported by [`super::run`].
pub async fn run(args: &Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let policy = RetryPolicy { total: args.give_up_after, ..RetryPolicy::default() };
    let client = globals.client()?;
    let request = args.request()?;
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::from),
        done = async {
            let mut subscription = client.subscribe_resuming(request, policy).await?;
            follow(args, &mut subscription, printer).await
        } => done,
    }
}

async fn follow(args: &Args, subscription: &mut Subscription, printer: &mut Printer) -> Result<(), Failure> {
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(item) = subscription.next().await? else { return Ok(()) };
        let caught_up = matches!(item, Item::CaughtUp(_));
        match item {
            Item::Event(event) => {
                left -= 1;
                printer.item(|| select::summary(&event), || event_json::encode(&event))?;
            }
            Item::Confirmed(at) => mark(args, printer, "confirmed", at)?,
            Item::Checkpoint(at) => mark(args, printer, "checkpoint", at)?,
            Item::CaughtUp(at) => mark(args, printer, "caught_up", at)?,
            Item::FellBehind(at) => mark(args, printer, "fell_behind", at)?,
        }
        // A person or the next command of a pipe waits for the line.
        printer.flush()?;
        if caught_up && args.until_caught_up {
            return Ok(());
        }
    }
    Ok(())
}

/// Prints a mark if `--marks` is set: among the JSON on stdout, or beside the table on stderr.
fn mark(args: &Args, printer: &mut Printer, name: &str, position: u64) -> Result<(), Failure> {
    if !args.marks {
        return Ok(());
    }
    match printer.form() {
        Output::Table => {
            printer.flush()?;
            writeln!(std::io::stderr(), "-- {} at position {position}", name.replace('_', " "))?;
        }
        Output::Json | Output::Jsonl => {
            printer.item(String::new, || format!("{{\"mark\":\"{name}\",\"position\":{position}}}"))?;
        }
    }
    Ok(())
}
