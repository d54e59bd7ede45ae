//! Benchmarks of the hot paths against minimal baselines (plain file, bare RocksDB). Run with `make bench`.
//!
//! - `harness` measures sides in turns and compares the sides of each round; `results` writes the results page.
//! - `corpus` provides the events for all benchmarks.
//! - `rules` measures apply without storage, `log` synced entries, and `state` applied entries and read pages.
//! - `wire` measures a real node over gRPC; `node` starts the process.
//!
//! Every figure is a ratio within a single run: machines differ and are never idle, so a rate alone says little.
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

/// The allocator of the node. Another allocator would give figures of another program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Parses an environment variable; returns `default` if the variable is not set.
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
    // Next to the binary, because the target directory is on a disk and a temporary directory may be in memory.
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
