//! `localkube`: starts and ends a real Kubernetes on this machine and injects faults.

mod arguments;
mod commands;
mod status;

use arguments::Arguments;
use clap::Parser;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match commands::run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("localkube: {line}");
            }
            ExitCode::FAILURE
        }
    }
}
