//! Access to pods through their processes on this machine and their HTTP servers.

use crate::{
    http,
    scenario::{MINUTE, Scenario},
};
use taffrail_localkube::{NodeId, wait};

/// Waits until `/readyz` of a node returns status 200.
///
/// # Errors
/// When the node is not ready within two minutes.
pub async fn wait_ready(endpoint: &str) -> anyhow::Result<()> {
    let url = endpoint.replace(":2113", ":9090/readyz");
    wait::until(&format!("200 of {url}"), MINUTE * 2, || async { http::get(&url).await.map_err(|e| e.to_string()) })
        .await?;
    Ok(())
}

/// Returns the local Kubernetes node running the pod.
///
/// # Errors
/// When the pod does not run on a node of the local Kubernetes.
pub async fn kubernetes_node(scenario: &Scenario, pod: &str) -> anyhow::Result<NodeId> {
    let name = scenario.kubectl.run(["get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"]).await?;
    let number: u8 = name.trim().trim_start_matches("node").parse()?;
    NodeId::try_from(number).map_err(|e| anyhow::anyhow!("{e:?}"))
}

/// Returns the process id of the Taffrail node in a pod, found by the environment variable `POD_NAME`.
///
/// # Errors
/// When no process of the pod is running.
pub fn node_process(pod: &str) -> anyhow::Result<i32> {
    let wanted = format!("POD_NAME={pod}");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let named = environment.split(|b| *b == 0).any(|v| v == wanted.as_bytes());
        if named && String::from_utf8_lossy(&command).contains("serve") {
            return Ok(pid);
        }
    }
    anyhow::bail!("no Taffrail process of pod {pod} runs on this machine")
}
