//! What keeps a pod from running, in Kubernetes' own words, with a remedy. Pure: objects in, sentence out.

use k8s_openapi::api::core::v1::{ContainerState, PersistentVolumeClaim, Pod};
use taffrail_crds::Reason;

use super::observation::PodProblem;

/// A process that ended this often and is not ready is in a loop; one or two restarts happen.
const RESTARTS_MIN: i32 = 3;

/// The first thing that keeps this pod from running.
pub(super) fn of_pod(pod: &Pod, claim: Option<&PersistentVolumeClaim>) -> Option<PodProblem> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    unscheduled(pod, claim, name).or_else(|| container(pod, name))
}

fn unscheduled(pod: &Pod, claim: Option<&PersistentVolumeClaim>, name: &str) -> Option<PodProblem> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    if scheduled.status != "False" {
        return None;
    }
    let words = scheduled.message.clone().unwrap_or_default();
    if let Some(pending) = claim.filter(|claim| phase(claim) != Some("Bound")) {
        let claim_name = pending.metadata.name.as_deref().unwrap_or_default();
        let class = pending.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).filter(|c| !c.is_empty());
        let about_volumes = words.contains("PersistentVolumeClaim")
            || words.contains("persistent volume")
            || words.contains("storageclass");
        match class {
            None => {
                return Some(PodProblem {
                    reason: Reason::VolumePending,
                    message: format!(
                        "claim {claim_name} is pending: no default StorageClass; create the Cluster with \
                         spec.storage.storageClassName, or mark a StorageClass as default"
                    ),
                });
            }
            Some(class) if about_volumes => {
                return Some(PodProblem {
                    reason: Reason::VolumePending,
                    message: format!(
                        "claim {claim_name} of StorageClass {class} is pending: {words}; see that the class exists and \
                         can provide the volume, or delete the Cluster and this claim and create it anew with another \
                         spec.storage.storageClassName"
                    ),
                });
            }
            Some(_) => {}
        }
    }
    Some(PodProblem {
        reason: Reason::Unschedulable,
        message: format!("{name}: {words}; add capacity, or relax spec.resources, spec.placement or spec.podTemplate"),
    })
}

fn phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref()?.phase.as_deref()
}

fn container(pod: &Pod, name: &str) -> Option<PodProblem> {
    let status = pod.status.as_ref()?.container_statuses.as_deref()?.first()?;
    let state = status.state.as_ref()?;
    let crashing = |reason: &str, said: String| PodProblem {
        reason: Reason::CrashLooping,
        message: format!("{name}: {reason}: {said}; see the log of the pod"),
    };
    let Some(waiting) = &state.waiting else {
        // Between two back-offs it runs for a moment, or has just ended: still the same trouble.
        let again = status.restart_count >= RESTARTS_MIN && !status.ready;
        let last = last_words(Some(state)).or_else(|| last_words(status.last_state.as_ref()));
        return last.filter(|_| again).map(|said| crashing("CrashLoopBackOff", said));
    };
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let words = waiting.message.as_deref().unwrap_or_default();
    match reason {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            Some(PodProblem {
                reason: Reason::ImagePullFailed,
                message: format!(
                    "{name}: {reason}: {words}; correct spec.image or spec.version, or add \
                     spec.podTemplate.imagePullSecrets"
                ),
            })
        }
        "CrashLoopBackOff" | "RunContainerError" | "CreateContainerError" | "CreateContainerConfigError" => {
            let last = last_words(status.last_state.as_ref());
            Some(crashing(reason, last.unwrap_or_else(|| words.to_owned())))
        }
        // ContainerCreating and PodInitializing are ordinary.
        _ => None,
    }
}

/// The termination message of the last run; the node writes its fatal error there, as one line.
fn last_words(state: Option<&ContainerState>) -> Option<String> {
    let ended = state?.terminated.as_ref()?;
    let message = ended.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let reason = ended.reason.as_deref().unwrap_or("ended");
    Some(match message {
        Some(message) => format!("{message} (exit code {})", ended.exit_code),
        None => format!("{reason}, exit code {}", ended.exit_code),
    })
}

#[cfg(test)]
mod tests {
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
}
