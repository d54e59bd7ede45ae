//! `taffrail-operator`: parse, build, run, exit code; nothing else.

use clap::Parser;
use std::process::ExitCode;
use taffrail_operator::{
    args::{Args, Command},
    helm_test, runtime,
};

fn main() -> ExitCode {
    let args = Args::parse();
    runtime::install_logging(&args.logging);
    // One provider for the whole binary, chosen before the first handshake; a second choice would end in a panic there.
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
            tracing::error!(error = format!("{error:#}"), "ended");
            ExitCode::FAILURE
        }
    }
}
