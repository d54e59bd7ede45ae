//! Pods that do not run, and the problem reported for each pod.

use super::*;
use serde_json::json;

fn pod(status: serde_json::Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "main-0"}, "status": status})).expect("a pod")
}

fn claim(class: Option<&str>) -> PersistentVolumeClaim {
    let claim = json!({
        "metadata": {"name": "data-main-0"}, "spec": {"storageClassName": class}, "status": {"phase": "Pending"},
    });
    serde_json::from_value(claim).expect("a claim")
}

fn unscheduled(words: &str) -> Pod {
    pod(
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}]}),
    )
}

fn waiting(reason: &str, last: serde_json::Value) -> Pod {
    let status = json!({
        "name": "node", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
        "state": {"waiting": {"reason": reason, "message": "words"}}, "lastState": last,
    });
    pod(json!({"containerStatuses": [status]}))
}

#[test]
fn causes_are_told_apart_and_quoted() {
    let words = "0/3 nodes are available: 3 Insufficient memory";
    let cases = [
        (unscheduled(words), Some(claim(Some("fast"))), Reason::Unschedulable, "3 Insufficient memory"),
        (
            unscheduled("pod has unbound immediate PersistentVolumeClaims"),
            Some(claim(None)),
            Reason::VolumePending,
            "no default StorageClass",
        ),
        (
            unscheduled("pod has unbound immediate PersistentVolumeClaims"),
            Some(claim(Some("x"))),
            Reason::VolumePending,
            "StorageClass x is pending",
        ),
        (waiting("ImagePullBackOff", json!({})), None, Reason::ImagePullFailed, "spec.image"),
        (
            waiting(
                "CrashLoopBackOff",
                json!({"terminated": {"exitCode": 65, "message": "data directory is not ours\n"}}),
            ),
            None,
            Reason::CrashLooping,
            "data directory is not ours (exit code 65)",
        ),
        (
            waiting("CrashLoopBackOff", json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
            None,
            Reason::CrashLooping,
            "OOMKilled, exit code 137",
        ),
    ];
    for (pod, claim, reason, words) in cases {
        let found = of_pod(&pod, claim.as_ref()).expect("a problem");
        assert_eq!(found.reason, reason);
        assert!(found.message.contains(words), "{}", found.message);
    }
}

#[test]
fn a_loop_is_seen_while_the_process_runs_for_a_moment() {
    let looping = |restarts: i32| {
        let status = json!({
            "name": "node", "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
            "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 65, "message": "not ours"}},
        });
        of_pod(&pod(json!({"containerStatuses": [status]})), None)
    };
    assert_eq!(looping(1), None);
    assert_eq!(looping(3).map(|problem| problem.reason), Some(Reason::CrashLooping));
}

#[test]
fn a_pod_that_is_starting_is_no_trouble() {
    assert_eq!(of_pod(&waiting("ContainerCreating", json!({})), None), None);
    assert_eq!(of_pod(&pod(json!({})), None), None);
}
