//! The end of a task of the node ends the process: a node without a part of itself would look healthy and not do its work.

use super::node::{Node, Refused, taffrail};
use crate::common::{PORT_TAKEN, Ports, until};
use std::path::Path;
use taffrail_client::{EventBuilder, Expected};
use tempfile::TempDir;

/// Exit code after the end of a task.
const TASK: i32 = 70;
/// Exit code after a failed write to disk.
const DISK: i32 = 74;

/// Starts a node with an armed panic point, and waits for the end of the process.
async fn ended(data: &Path, point: &str) -> Refused {
    for _ in 0..5 {
        let mut command = taffrail();
        command.args(["serve", "--single", "--data-dir"]).arg(data).args(Ports::free(1)[0].flags());
        command.env("TAFFRAIL_PANIC_POINT", point).env("TAFFRAIL_LOG_FORMAT", "text");
        let ended = Refused::of(command).await;
        if ended.status.code() != Some(PORT_TAKEN) {
            return ended;
        }
    }
    panic!("no free ports");
}

/// Checks the end of a process at a panic point, and that the next process serves.
async fn ends(point: &str, code: i32, words: [&str; 2]) {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let ended = ended(&data, point).await;
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in {}", ended.stderr);
    }
    Node::start(&data).await.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_coordinator_ends_the_process() {
    let words = ["panic point coordinator-pass reached", "the task coordinator has ended"];
    ends("coordinator-pass:3", TASK, words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_log_writer_ends_the_process_like_a_failed_write() {
    let words = ["panic point log-writer reached", "a write to disk failed: the log writer panicked"];
    ends("log-writer:5", DISK, words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_task_of_a_replica_restarts_the_replica_alone() {
    let dir = TempDir::new().unwrap();
    let node = Node::start_with(&dir.path().join("data"), &[("TAFFRAIL_PANIC_POINT", "proposer:3")]).await;
    node.serves("default").await;
    let client = node.client();
    let (mut stored, mut failed) = (0, 0);
    until("appends before and after the panic", async || {
        let event = EventBuilder::new("Noted").bytes("text/plain", b"x".to_vec()).build();
        match client.append("notes", Expected::Any, vec![event]).await {
            Ok(_) => stored += 1,
            Err(_) => failed += 1,
        }
        if stored >= 5 && failed >= 1 { Ok(()) } else { Err(format!("{stored} stored, {failed} failed")) }
    })
    .await;
    let page = node.get("/metrics").await.unwrap();
    assert!(page.contains("taffrail_tasks_failed_total{task=\"proposer\"} 1"), "{page}");
    assert!(node.said().contains("panic point proposer reached"), "{}", node.said());
    // The output has a panic, so the checks of an orderly end do not apply. The process ends with the value.
    drop(node);
}
