//! `taffrail read`: prints stored events of one stream or of the whole store, then ends.

use super::{
    args::{GlobalArgs, StartAt, start_at},
    event_json,
    failure::Failure,
    output::Printer,
    select::{self, Selector},
};
use taffrail_client::{Error, v1};
use taffrail_proto::reason::Reason;

/// Flags of `read`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selector: Selector,
    /// First event, inclusive: start, end, a revision of the stream, or with --all a position. Default: start, or
    /// end with --backward.
    #[arg(long, value_parser = start_at, value_name = "start|end|N")]
    from: Option<StartAt>,
    /// Read from later to earlier events.
    #[arg(long)]
    backward: bool,
    /// Maximum number of events; 0 means all.
    #[arg(long, default_value_t = 0, value_name = "N")]
    limit: u64,
    /// Read the replica of the answering node without asking the leader. The result may lack the latest events.
    #[arg(long)]
    stale: bool,
    /// Read a replica that has applied this position, such as the position of an own append, instead of asking the leader.
    #[arg(long, value_name = "N", conflicts_with = "stale")]
    at_least_position: Option<u64>,
    /// Also print the events of streams whose names begin with `$`; with --all.
    #[arg(long, requires = "all")]
    include_system: bool,
}

impl Args {
    fn request(&self) -> Result<v1::ReadRequest, Failure> {
        let start = self.from.map(|from| from.to_proto(self.selector.all));
        let direction = if self.backward { v1::Direction::Backward } else { v1::Direction::Forward };
        let consistency = match (self.stale, self.at_least_position) {
            (true, _) => v1::Consistency::Stale,
            (false, Some(_)) => v1::Consistency::Unspecified,
            (false, None) => v1::Consistency::Linearizable,
        };
        let system = self.include_system.then_some(v1::Feature::IncludeSystem);
        let at_least = self.at_least_position.map(|_| v1::Feature::AtLeastPosition);
        Ok(v1::ReadRequest {
            selector: Some(self.selector.to_proto()?),
            direction: direction.into(),
            start,
            limit: self.limit,
            consistency: consistency.into(),
            at_least_position: self.at_least_position,
            include_system: self.include_system,
            needs: system.into_iter().chain(at_least).map(select::number).collect(),
        })
    }
}

/// Runs `taffrail read`.
///
/// # Errors
/// The [`Failure`] reported by [`super::run`].
pub async fn run(args: &Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let mut events = globals.client()?.read(args.request()?).await?;
    while let Some(event) = events.next().await? {
        printer.item(|| select::summary(&event), || event_json::encode(&event))?;
    }
    // An absent stream is no error of the protocol, but a script should notice a mistyped name.
    match events.end().map(v1::ReadEnd::state) {
        Some(v1::StreamState::Absent) => Err(absent(args.selector.stream.as_deref().unwrap_or_default())),
        Some(
            v1::StreamState::Unspecified
            | v1::StreamState::Live
            | v1::StreamState::Deleted
            | v1::StreamState::Tombstoned,
        )
        | None => Ok(()),
    }
}

fn absent(stream: &str) -> Failure {
    let reason = Reason::StreamNotFound.as_str().to_owned();
    Failure::Client(Error::NotFound { reason, message: format!("stream {stream} has no events"), nearest: Vec::new() })
}
