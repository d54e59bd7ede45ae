//! The hot paths, each measured next to a reference that does the least that could be done: `make bench`.
//!
//! - `harness`: sides that take turns, and what their rounds say together. `results`: the page that is written.
//! - `corpus`: the events that every side works on.
//! - `rules`: apply without storage. `log`: entries synced. `state`: entries applied, pages read. `wire`: a real node, asked
//!   over gRPC; `node`: its process.
//!
//! Every figure is a ratio within one run: machines differ and are never idle, so a rate alone says little.
#![allow(unreachable_pub, reason = "a binary")]

mod corpus;
mod harness;
mod log;
mod node;
mod results;
mod rules;
mod state;
mod wire;

use anyhow::{Context, Result};
use harness::Pace;
use std::{str::FromStr, time::Duration};

/// What the node runs with; another allocator would measure another program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The variable, or `default` where it is not set.
fn setting<T: FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn main() -> Result<()> {
    let pace = Pace {
        time: Duration::try_from_secs_f64(setting("BENCH_SECONDS", 1.0)?).context("BENCH_SECONDS")?,
        rounds: setting("BENCH_ROUNDS", 5_usize)?.max(1),
    };
    // Beside the binary: on the disk that is built on, never in memory.
    let binaries = std::env::current_exe()?.parent().context("the binary is in no directory")?.to_path_buf();
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(&binaries)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

    let mut rows = Vec::new();
    let (single, hundreds) = (corpus::single_events(), corpus::hundreds());
    rows.extend(rules::case("apply, 1 event an append", &single).run(pace)?);
    rows.extend(rules::case("apply, 100 events an append", &hundreds).run(pace)?);
    for groups in [1, 16, 64] {
        rows.extend(log::case(scratch.path(), &runtime, groups)?.run(pace)?);
    }
    let entries = corpus::entries(&single);
    rows.extend(state::apply_case(scratch.path(), &entries)?.run(pace)?);
    let filled = state::Filled::new(scratch.path(), &entries)?;
    rows.extend(filled.read_all_case().run(pace)?);
    rows.extend(filled.read_streams_case()?.run(pace)?);

    let node = runtime.block_on(node::Node::start(&binaries.join("taffrail"), scratch.path()))?;
    let wire = wire::Wire::new(&runtime, &node, scratch.path())?;
    wire.fill()?;
    for case in wire.history_cases(&filled) {
        rows.extend(case.run(pace)?);
    }
    for writers in [1, 16, 64] {
        rows.extend(wire.append_case(writers)?.run(pace)?);
    }
    rows.extend(wire.delivery_case()?.run(pace)?);
    drop(wire);
    runtime.block_on(node.end())?;
    results::write(&rows, pace)
}
