//! Table of the reasons of conditions. Scripts and alerts match on reasons, so a reason is only added, never renamed.

macro_rules! reasons {
    ($($name:ident: $meaning:literal, $remedy:literal;)*) => {
        /// Reason for the status of a condition.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// All reasons, in the order of `CONDITIONS.md`.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the reason with this name, if the table has the name.
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }

            /// Returns the name in `status.conditions[].reason`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Returns the meaning as a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// Returns the remedy: the next action of a person.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

reasons! {
    AsExpected: "The object matches its spec.", "Nothing to do.";
    NotObserved: "The operator has not determined this condition yet.",
        "Wait. If the condition stays, check that the operator runs and may read this namespace.";
    Paused: "`spec.paused` is set: the operator observes and changes nothing.", "Set `spec.paused` to false.";
    Deleting: "The object is being deleted and its cleanup is running.",
        "Wait; `status.plan` shows the pending steps of the cleanup.";
    InvalidSpec: "The spec cannot be parsed, or fields contradict each other.",
        "Correct the field that the message names.";
    Forbidden: "The API server refused a write of the operator.",
        "Grant the permission that the message quotes, or upgrade the chart.";
    ApiUnavailable: "The API server did not answer a request of the operator.",
        "Wait. The operator retries by itself, and the nodes keep serving.";
    DeadlineExceeded: "A reconcile of the operator exceeded its time limit and was cancelled.",
        "Check the node or API server that the message names. The operator retries with growing delays.";
    NameTaken: "Another object already uses a name that this object needs. The operator never adopts another object.",
        "Rename or delete the object that the message names, or choose another name.";

    PodsNotReady: "Pods of nodes are starting or not ready.",
        "Wait. If the condition stays, read the log of the pod that the message names.";
    Unschedulable: "Kubernetes finds no node that fits a pod.",
        "Add capacity, or relax `spec.resources`, `spec.placement` or the selectors of `spec.podTemplate`.";
    ImagePullFailed: "Kubernetes cannot pull the image of the nodes.",
        "Correct `spec.image` or `spec.version`, or add `imagePullSecrets` to `spec.podTemplate`.";
    VolumePending: "A PersistentVolumeClaim is not bound.",
        "Check that the StorageClass exists and can provide the volume. To change the class, delete the Cluster and \
         the claim, and create the Cluster again with another `spec.storage.storageClassName`.";
    FailedCreate: "Kubernetes refuses to create a pod.",
        "Correct the quota, policy or admission rule that the message quotes.";
    CrashLooping: "The process of a node exits again and again.",
        "Read the last termination message and the log of the pod.";
    NodeUnreachable: "The operator cannot reach the admin port of a node.",
        "Check the pod, and the network policies between the operator and port 2115.";

    ForeignVolumes: "Volumes contain the data of another cluster, or of several clusters.",
        "Give the Cluster new volumes, or restore the volumes of the recorded cluster id. Nothing is overwritten.";
    IdentityReverted: "A node came back with an older copy of its disk.",
        "Let the node rejoin as a new node once its stores are fully replicated on other nodes.";
    Bootstrapping: "The Cluster is being formed from blank volumes.",
        "Wait. The Cluster is formed once every expected pod has reported.";
    NoQuorum: "Less than a majority of the voters is reachable.",
        "Bring the missing pods back. No data is given up meanwhile.";
    NoLeader: "A majority of the voters is reachable, but the group has no leader yet.",
        "Wait a few seconds. If the condition stays, check the network between the pods.";
    NoEndpoint: "No address of the Service leads to a ready pod.",
        "Wait for a ready pod; the message names the Service.";

    ScalingUp: "Nodes are being added.", "Wait; `status.plan` shows the node.";
    ScalingDown: "A node is being drained and removed.", "Wait; `status.plan` shows the node.";
    ScaleDownBlocked: "The stores would not fit on fewer nodes.",
        "Lower `spec.replicas` of the stores that the message names, or raise `spec.replicas` of the Cluster again.";
    Rolling: "Pods are being restarted with a new template, one at a time.", "Wait; `status.plan` shows the pod.";
    RolloutHalted: "A restarted pod did not become ready again, so the rollout restarts no other pod.",
        "Correct the spec; the operator then replaces the broken pod first.";
    NodeLost: "A node is lost, fenced or not a member yet, so replicas are missing.",
        "Bring the pod back, or let the Cluster replace the node.";
    ReplacingNode: "A new node is replacing a lost node.", "Wait. The number of voters does not fall meanwhile.";

    ClusterNotFound: "The Cluster of `spec.clusterRef` does not exist.",
        "Create the Cluster, or create the EventStore again with the right `spec.clusterRef`.";
    ClusterNotReady: "The Cluster does not accept stores yet.", "Check the conditions of the Cluster.";
    NotEnoughNodes: "The store needs more voters than the Cluster has nodes.",
        "Scale the Cluster up, or lower `spec.replicas` of the EventStore. The operator then continues by itself.";
    RetainedDataExists: "A retained store of the same name holds events.",
        "Set `spec.storeId` to the id of the retained store to take the store over. To remove the store for good, \
         take the store over with `spec.deletionPolicy: Delete`, then delete the EventStore.";
    StoreNotFound: "`spec.storeId` names a store that the Cluster does not have.",
        "Create the EventStore again with an id that `taffrail stores list --retained` shows, or without \
         `spec.storeId`.";
    StoreInUse: "`spec.storeId` names a store that another EventStore already uses.",
        "Delete the other EventStore, or create this EventStore again without `spec.storeId`.";
    CreatingStore: "The store is being created.", "Wait a few seconds.";
    ChangingReplicas: "Replicas of the store are being added or removed.", "Wait; `status.plan` shows the replica.";
    UnderReplicated: "The store has fewer caught-up replicas than `spec.replicas`.",
        "Wait until the replicas have caught up, or bring the missing node back.";
    ReplicaBroken: "A replica fails at every start, and a new replica takes the place.",
        "Wait for the new replica. If the message stays, read the log of the pod that the message names.";
    ClockSkew: "The clock of a node differs from the clocks of the other nodes by 5 s or more.",
        "Correct the time synchronisation of the machine of the node that the message names.";
    ReplicaInconsistent: "A replica reached a different state than the majority after applying the same log.",
        "Wait for the replacement of the replica. If the message says that no majority agrees, keep all volumes and \
         report the case.";
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
