//! The one list of reasons. Scripts and alerts match on them, so a reason is never renamed, only added.

macro_rules! reasons {
    ($($name:ident: $meaning:literal, $remedy:literal;)*) => {
        /// Why a condition is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// All reasons, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason of this word, if there is one.
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }

            /// The word in `status.conditions[].reason`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What to do about it, in one sentence.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

reasons! {
    AsExpected: "All is as asked for.", "Nothing to do.";
    NotObserved: "The operator has not looked at this yet.",
        "Wait; if it stays, check that the operator runs and may read this namespace.";
    Paused: "`spec.paused` is set, so the operator only observes.", "Set `spec.paused` to false.";
    Deleting: "The object is being deleted and its cleanup is running.",
        "Wait; `status.plan` says what the cleanup waits for.";
    InvalidSpec: "The object does not parse or contradicts itself.", "Correct the field that the message names.";
    Forbidden: "The API server refused a write of the operator.",
        "Grant the permission that the message quotes, or upgrade the chart.";
    ApiUnavailable: "The API server did not answer a request of the operator.",
        "Wait; the operator retries by itself and the nodes keep serving.";
    DeadlineExceeded: "A pass of the operator hung and was ended.",
        "Look at what the message names, a node or the API server; the operator retries by itself, less and less often.";
    NameTaken: "An object with a name that we need exists and is not ours.",
        "Rename or delete the object that the message names, or choose another name.";

    PodsNotReady: "Node pods are starting or not ready.", "Wait; if it stays, read the log of the pod that the message names.";
    Unschedulable: "A pod fits on no node of Kubernetes.",
        "Add capacity, or relax `spec.resources`, `spec.placement` or the pod template's selectors.";
    ImagePullFailed: "The node image cannot be pulled.", "Correct `spec.image` or `spec.version`, or add `imagePullSecrets`.";
    VolumePending: "A volume claim is not bound.",
        "Set `spec.storage.storageClassName` to a class that can provide the volume.";
    FailedCreate: "Kubernetes refuses to create a pod.", "Follow the words of Kubernetes in the message: quota, policy or admission.";
    CrashLooping: "A node process ends again and again.", "Read the last termination message and the log of the pod.";
    NodeUnreachable: "The operator cannot reach the admin port of a node.",
        "Check the pod, and network policies between the operator and port 2115.";
    ForeignVolumes: "Volumes carry data of another cluster, or of more than one.",
        "Give the Cluster its own volumes, or restore those of its recorded cluster id; nothing is overwritten.";
    IdentityReverted: "A node came back with an older copy of its disk.",
        "Let it rejoin as a new node once its stores are whole elsewhere.";

    Bootstrapping: "The Cluster is being formed from blank volumes.",
        "Wait; every expected pod has to report before it is formed.";
    NoQuorum: "Less than a majority of the voters is reachable.", "Bring the missing pods back; no data is given up meanwhile.";
    NoLeader: "There is a majority but no leader yet.", "Wait a few seconds; if it stays, check the network between the pods.";
    NoEndpoint: "No address leads to a pod that is ready.", "Wait for a ready pod; the message names the Service.";
    ScalingUp: "Nodes are being added.", "Wait; `status.plan` shows the node.";
    ScalingDown: "A node is being drained and removed.", "Wait; `status.plan` shows the node.";
    ScaleDownBlocked: "Stores would not fit on fewer nodes.",
        "Lower `spec.replicas` of the stores that the message names, or raise that of the Cluster again.";
    Rolling: "Pods are being restarted with a new template, one at a time.", "Wait; `status.plan` shows the pod.";
    RolloutHalted: "A restarted pod did not come back, so the others are left alone.",
        "Correct the spec; the broken pod is then replaced first.";
    NodeLost: "A node is gone, so there are fewer copies than asked for.",
        "Bring the pod back, or let the Cluster replace the node.";
    ReplacingNode: "A lost node is being replaced by a new one.", "Wait; the voter count does not fall meanwhile.";

    ClusterNotFound: "The Cluster of `spec.clusterRef` does not exist.", "Create the Cluster, or create the store anew with the right reference.";
    ClusterNotReady: "The Cluster does not accept stores yet.", "Look at the Cluster's own conditions.";
    NotEnoughNodes: "The store asks for more voters than the Cluster has nodes.",
        "Scale the Cluster up, or lower `spec.replicas`; it goes on by itself.";
    RetainedDataExists: "A retained store of the same name holds events.",
        "Set `spec.storeId` to take it over. To remove it for good, take it over with `spec.deletionPolicy: Delete` and delete the EventStore.";
    StoreNotFound: "`spec.storeId` names a store that the Cluster does not have.",
        "Correct or remove `spec.storeId`; see `taffrail stores list --retained`.";
    StoreInUse: "`spec.storeId` names a store that another EventStore has.", "Delete the other EventStore first, or remove `spec.storeId`.";
    CreatingStore: "The store is being created.", "Wait; this takes seconds.";
    ChangingReplicas: "Replicas of the store are being added or removed.", "Wait; `status.plan` shows the replica.";
    UnderReplicated: "Fewer caught-up copies of the store than asked for.", "Wait for catching up, or bring the missing node back.";
    ReplicaInconsistent: "A replica has applied the same entries to another end than the others.",
        "Wait for its replacement; if the message says that no majority agrees, keep the volumes and report it.";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_sentence_and_one_remedy() {
        for reason in Reason::ALL {
            for text in [reason.meaning(), reason.remedy()] {
                assert!(text.ends_with('.') && !text.contains('\n') && !text.contains('|'), "{reason}: {text}");
            }
        }
    }

    #[test]
    fn reasons_have_the_form_that_the_api_demands() {
        for reason in Reason::ALL {
            let word = reason.as_str();
            assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{word}");
            assert!(word.len() <= 64 && word.bytes().all(|b| b.is_ascii_alphanumeric()), "{word}");
        }
    }
}
