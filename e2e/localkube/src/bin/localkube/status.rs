//! The output of `localkube status`.

use std::process::ExitCode;
use taffrail_localkube::{LocalKube, Status};

/// Prints the status of a cluster. The exit code is 1 when the cluster has a problem.
pub(crate) async fn print(cluster: &LocalKube, json: bool) -> anyhow::Result<ExitCode> {
    let status = cluster.status().await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print_text(cluster, &status);
    }
    Ok(if status.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_text(cluster: &LocalKube, status: &Status) {
    let instance = cluster.instance();
    println!("cluster {} in {}", instance.name, instance.state.display());
    println!(
        "API server {}, pods {}, Services {}",
        instance.api_url(),
        instance.network.pods(),
        instance.network.services()
    );
    let on_nodes = status.nodes.iter().flat_map(|node| &node.components);
    for component in status.components.iter().chain(on_nodes) {
        let state = if component.running { "running" } else { "NOT RUNNING" };
        let exit = component.last_exit.as_deref().map(|exit| format!(", last {exit}")).unwrap_or_default();
        println!("  {:<26} {state}, {} restarts{exit}", component.name, component.restarts);
    }
    for cut in &status.cuts {
        println!("  cut: {}, {} packets dropped", cut.cut, cut.packets_dropped);
    }
    for problem in status.problems() {
        println!("  ! {problem}");
    }
    println!("logs: {}", instance.layout().logs().display());
}
