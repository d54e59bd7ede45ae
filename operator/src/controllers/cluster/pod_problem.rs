//! Obstacles to the running of a pod, in the words of Kubernetes and with a remedy. Pure: objects in, sentence out.

use super::observation::PodProblem;
use k8s_openapi::api::core::v1::{ContainerState, PersistentVolumeClaim, Pod};
use taffrail_crds::Reason;

/// Restarts, without readiness, that count as a crash loop; fewer restarts happen.
const RESTARTS_MIN: i32 = 3;

/// Returns the first obstacle to the running of this pod.
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
                        "claim {claim_name} of StorageClass {class} is pending: {words}; check that the class exists \
                         and can provide the volume, or delete the Cluster and this claim and create the Cluster \
                         again with another spec.storage.storageClassName"
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
        // Between two backoffs the process runs for a moment, or has just ended: still the same problem.
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
        // ContainerCreating and PodInitializing are normal.
        _ => None,
    }
}

/// Returns the termination message of the last run; the node writes a fatal error into this message, as a single line.
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
mod tests;
