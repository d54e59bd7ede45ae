//! The command `taffrail serve`: reads the configuration, runs a node, and chooses the exit code.

use crate::{
    config::{Config, args::ServeArgs},
    exit::{Code, last_words},
    logging,
    member::{deadline::Phase, run},
};
use std::{process::ExitCode, time::Duration};
use taffrail_runtime as rt;
use tokio::{runtime::Runtime, time::Instant};

/// Serves until a signal or a fatal error. The duration is the time limit for the end of tasks and blocking work.
pub fn serve(runtime: &Runtime, args: &ServeArgs) -> (ExitCode, Duration) {
    // Not `vars()`: a variable in another encoding than UTF-8 would panic.
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
