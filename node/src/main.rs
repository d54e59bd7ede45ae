//! `taffrail`: a node (`serve`) and the client commands, in one binary.
#![allow(unreachable_pub, reason = "a binary")]

use clap::Parser;
use std::{process::ExitCode, time::Duration};
use taffrail_cli as cli;
use taffrail_node::{
    config::{Config, args::ServeArgs},
    exit::{Code, last_words},
    logging,
    member::{deadline::Phase, run},
};
use taffrail_runtime as rt;
use tokio::time::Instant;

/// openraft pre-allocates rings per group; with this allocator they stay virtual until they are used.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long tasks and blocking work of a client command may take to end.
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

#[derive(clap::Subcommand)]
enum Command {
    /// Run a node.
    Serve(ServeArgs),
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    // Two dependencies bring rustls; one provider for the whole process, before any handshake.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("taffrail: a TLS provider was installed before");
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("taffrail: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (code, rest) = match arguments.command {
        Command::Serve(args) => serve(&runtime, &args),
        Command::Client(command) => {
            (ExitCode::from(runtime.block_on(cli::run(command, &arguments.global))), COMMAND_END_MAX)
        }
    };
    // The databases close with the last task, before the process ends and takes RocksDB's statics away from under them.
    // Not for ever: dropped, it would wait without end for blocking work that hangs, a flush on a dead disk for example.
    runtime.shutdown_timeout(rest);
    code
}

/// Serves until it is told to stop; says too how long the rest of the process may take to end.
fn serve(runtime: &tokio::runtime::Runtime, args: &ServeArgs) -> (ExitCode, Duration) {
    // Not `vars()`, which panics on a variable of anybody's that is not UTF-8.
    let config = match Config::load(args, std::env::vars_os()) {
        Ok(config) => config,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            for line in &lines {
                eprintln!("taffrail: configuration: {line}");
            }
            last_words(Code::Config, &format!("configuration: {}", lines.join("; ")));
            return (ExitCode::from(Code::Config as u8), Duration::ZERO);
        }
    };
    if args.check {
        println!("{config:#?}");
        return (ExitCode::SUCCESS, Duration::ZERO);
    }
    logging::install(&config);
    let scope = rt::Scope::production();
    let run::Ended { how, deadline } = runtime.block_on(scope.run(run::run(config)));
    let code = match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => {
            last_words(end.code, &end.why);
            eprintln!("taffrail: {}", end.why);
            ExitCode::from(end.code as u8)
        }
    };
    (code, deadline.of(Phase::Exit).saturating_duration_since(Instant::now()))
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
