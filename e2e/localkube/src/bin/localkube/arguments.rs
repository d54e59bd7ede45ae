//! Command line arguments of `localkube`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use taffrail_localkube::{
    InstanceName, NodeId,
    config::Config,
    network::{Ipv4Range, Slot},
};

/// Text printed at the end of `localkube --help`.
const EXAMPLES: &str = "\
Examples:
  localkube up                                  start a cluster of three nodes
  export KUBECONFIG=$(localkube kubeconfig)     let kubectl and helm use the cluster
  localkube load-image taffrail-image.tar       load an image into every node
  localkube partition node1 node2               drop all packets between the pods of two nodes
  localkube partition --one-way --api node1 node2
  localkube heal                                end every partition
  localkube stop-node node3                     power off a node; `start-node` powers it on
  localkube --name second up --slot 5           start a second cluster beside the first
  localkube down                                end the cluster and remove its files";

/// A real Kubernetes on one machine, without a container engine. Needs root.
#[derive(Parser)]
#[command(name = "localkube", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Name of the cluster on this machine
    #[arg(long, global = true, env = "LOCALKUBE_NAME", default_value = Config::DEFAULT_NAME)]
    pub(crate) name: InstanceName,
    /// Parent directory, on a disk, of the state directories of all clusters
    #[arg(long, global = true, env = "LOCALKUBE_STATE_ROOT", default_value = Config::DEFAULT_STATE_ROOT)]
    pub(crate) state_root: PathBuf,
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Start the cluster; succeed at once if it is running and healthy
    Up(UpArguments),
    /// End the cluster and remove all its files; do nothing if there is none
    Down,
    /// Show running and stopped components and active cuts; exit code 1 if there is a problem
    Status {
        /// Print the status as JSON
        #[arg(long)]
        json: bool,
    },
    /// Load the images of a docker or OCI archive into every node
    LoadImage {
        /// Path of the archive, a tar file
        archive: PathBuf,
    },
    /// Drop all packets between the pods of two nodes, established connections included
    Partition(PartitionArguments),
    /// Remove the cuts between two nodes, or all cuts
    Heal {
        /// First of the two nodes
        #[arg(requires = "other")]
        node: Option<NodeId>,
        /// Second of the two nodes
        other: Option<NodeId>,
    },
    /// Power off a node; its disk is kept
    StopNode {
        /// Node to power off
        node: NodeId,
    },
    /// Power on a stopped node
    StartNode {
        /// Node to power on
        node: NodeId,
    },
    /// Stop the API server
    PauseApi,
    /// Start the API server again and wait until it is ready
    ResumeApi,
    /// Empty the volumes whose claims were deleted and make them available again
    RecycleVolumes,
    /// Empty the directory behind a persistent volume
    WipeVolume {
        /// Name of the PersistentVolume
        volume: String,
    },
    /// Add a volume of class local-limited with an enforced capacity
    AddLimitedVolume {
        /// Node that gets the volume
        node: NodeId,
        /// Capacity in MiB
        mebibytes: u32,
    },
    /// Print the path of the kubeconfig
    Kubeconfig,
    /// Print the process id to pass to nsenter for entering the cluster's namespaces
    Pid,
    /// First process of the namespaces; run by `up` only
    #[command(hide = true)]
    InsideInit { state: PathBuf },
    /// Supervisor; run by the first process only
    #[command(hide = true)]
    InsideSupervise { state: PathBuf },
}

#[derive(Args)]
pub(crate) struct UpArguments {
    /// Number of nodes
    #[arg(long, default_value_t = Config::DEFAULT_NODES.number(), value_parser = clap::value_parser!(u8).range(1..=i64::from(NodeId::MAX)))]
    pub(crate) nodes: u8,
    /// Number of volumes on each node
    #[arg(long, default_value_t = Config::DEFAULT_VOLUMES)]
    pub(crate) volumes: u8,
    /// Number of the address slot, 0 to 15; the first free slot if not given
    #[arg(long, conflicts_with_all = ["link", "pods", "services"])]
    pub(crate) slot: Option<Slot>,
    /// Address range of host, API server and nodes, /27 or larger
    #[arg(long, requires_all = ["pods", "services"])]
    pub(crate) link: Option<Ipv4Range>,
    /// Address range of pods, /20 or larger
    #[arg(long, requires_all = ["link", "services"])]
    pub(crate) pods: Option<Ipv4Range>,
    /// Address range of Services, /24 or larger
    #[arg(long, requires_all = ["link", "pods"])]
    pub(crate) services: Option<Ipv4Range>,
    /// Directory of the Kubernetes programs, as printed by scripts/k8s-tools.sh
    #[arg(long, env = "LOCALKUBE_PROGRAMS")]
    pub(crate) programs: Option<PathBuf>,
    /// Directory of the CNI plugins
    #[arg(long)]
    pub(crate) cni: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PartitionArguments {
    /// First of the two nodes
    pub(crate) node: NodeId,
    /// Second of the two nodes
    pub(crate) other: NodeId,
    /// Drop only the packets from the first node to the second
    #[arg(long)]
    pub(crate) one_way: bool,
    /// Also cut the first node's kubelet and pods from the API server
    #[arg(long)]
    pub(crate) api: bool,
}
