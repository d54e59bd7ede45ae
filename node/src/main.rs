//! The binary `taffrail`: the node (`serve`) and the client commands.
#![allow(unreachable_pub, reason = "a binary has no public interface")]

use clap::{Parser, Subcommand};
use std::{process::ExitCode, time::Duration};
use taffrail_cli as cli;
use taffrail_node::{config::args::ServeArgs, serve::serve};
use tokio::runtime::Builder;

/// openraft allocates ring buffers per group in advance; with jemalloc untouched buffers take no physical memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Time for tasks and blocking work of a client command to end.
const COMMAND_END_MAX: Duration = Duration::from_secs(3);

/// A Kubernetes-native event store.
#[derive(Parser)]
#[command(name = "taffrail", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    global: cli::GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node.
    Serve(ServeArgs),
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    // Two dependencies use rustls, which needs one provider per process before the first handshake.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("taffrail: a TLS provider was installed before");
    }
    let arguments = Arguments::parse();
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("taffrail: cannot start the tokio runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (code, rest) = match arguments.command {
        Command::Serve(args) => serve(&runtime, &args),
        Command::Client(command) => {
            (ExitCode::from(runtime.block_on(cli::run(command, &arguments.global))), COMMAND_END_MAX)
        }
    };
    // The last task closes the databases, which must happen before the process destroys the statics of RocksDB. The time is
    // bounded: dropping the runtime would wait without end for blocking work, for example a flush to a dead disk.
    runtime.shutdown_timeout(rest);
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
