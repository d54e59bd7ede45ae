//! Entry point of `taffrail-operator`: parses the arguments, runs the command, returns the exit code.

use clap::Parser;
use std::process::ExitCode;
use taffrail_operator::{
    args::{Args, Command},
    helm_test, runtime,
};

fn main() -> ExitCode {
    let args = Args::parse();
    runtime::install_logging(&args.logging);
    // The process has a single TLS provider, installed before the first handshake; an ambiguous choice would panic
    // during the handshake.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = built.map_err(anyhow::Error::from).and_then(|tokio| {
        tokio.block_on(async {
            match args.command {
                Command::Run(run) => runtime::run(run).await.map_err(anyhow::Error::from),
                Command::HelmTest(test) => helm_test::run(test).await.map_err(anyhow::Error::from),
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "command failed");
            ExitCode::FAILURE
        }
    }
}
