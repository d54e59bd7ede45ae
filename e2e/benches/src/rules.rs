//! Benchmarks of the append rules without storage. The resulting rows are dropped, because storing rows is
//! the database's work.

use super::harness::{Case, passes};
use anyhow::ensure;
use std::{collections::BTreeMap, convert::Infallible, hint::black_box};
use taffrail_core::{
    ids::{Revision, StreamNo},
    names::StreamName,
    stream::{self, AppendRow, Block, Command, Kind, PartitionMeta, RepeatKey, RepeatRow, State, StreamRow},
};
use taffrail_storage::store::codec;
use tokio::time::Instant;

/// A row written by apply.
pub enum Written {
    Block(Block),
    Repeat(RepeatKey, RepeatRow),
}

/// A [`State`] that keeps only the stream rows, which apply looks up. Event ids in the corpus never repeat, so lookups
/// of append rows and repeat rows correctly find nothing.
#[derive(Default)]
pub struct Streams {
    rows: BTreeMap<StreamName, StreamRow>,
    /// Collects the written rows, if set.
    pub written: Option<Vec<Written>>,
}

impl Streams {
    fn write(&mut self, what: Written) {
        match &mut self.written {
            Some(written) => written.push(what),
            None => drop(black_box(what)),
        }
    }
}

impl State for Streams {
    type Error = Infallible;
    fn stream(&mut self, name: &StreamName) -> Result<Option<StreamRow>, Infallible> {
        Ok(self.rows.get(name).copied())
    }
    fn append_at(&mut self, _: StreamNo, _: Revision) -> Result<Option<AppendRow>, Infallible> {
        Ok(None)
    }
    fn repeat(&mut self, _: &RepeatKey) -> Result<Option<RepeatRow>, Infallible> {
        Ok(None)
    }
    fn put_block(&mut self, block: Block, _: AppendRow) {
        self.rows.insert(block.stream.clone(), block.stream_row());
        self.write(Written::Block(block));
    }
    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow) {
        self.write(Written::Repeat(key, row));
    }
}

fn events(commands: &[Command]) -> u64 {
    let of = |command: &Command| match &command.kind {
        Kind::Appends(appends) => appends.iter().map(|a| a.append.events.len() as u64).sum(),
        Kind::Settings(_) | Kind::RaiseRules(_) => 0,
    };
    commands.iter().map(of).sum()
}

/// Returns the benchmark of apply, with encoding of the same commands as baseline.
pub fn case<'a>(path: &str, commands: &'a [Command]) -> Case<'a> {
    let all = events(commands);
    Case {
        path: path.to_owned(),
        unit: "events",
        ours: Box::new(move |time| {
            passes(time, || {
                let (mut meta, mut streams) = (PartitionMeta::default(), Streams::default());
                let start = Instant::now();
                for command in commands {
                    black_box(stream::apply(&mut meta, &mut streams, command)?);
                }
                let took = start.elapsed();
                ensure!(meta.events == all, "{} of {all} events were accepted", meta.events);
                Ok((all, took))
            })
        }),
        references: vec![(
            "the same events encoded",
            Box::new(move |time| {
                passes(time, || {
                    let start = Instant::now();
                    for command in commands {
                        black_box(codec::encode_command(command));
                    }
                    Ok((all, start.elapsed()))
                })
            }),
        )],
    }
}
