//! The command line of `localkube`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use taffrail_localkube::{
    InstanceName, NodeId,
    config::Config,
    network::{Ipv4Range, Slot},
};

/// The end of `localkube --help`.
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
    /// Which cluster on this machine
    #[arg(long, global = true, env = "LOCALKUBE_NAME", default_value = Config::DEFAULT_NAME)]
    pub(crate) name: InstanceName,
    /// Directory, on a disk, below which each cluster keeps all of its files
    #[arg(long, global = true, env = "LOCALKUBE_STATE_ROOT", default_value = Config::DEFAULT_STATE_ROOT)]
    pub(crate) state_root: PathBuf,
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Start the cluster, or find it running and healthy
    Up(UpArguments),
    /// End the cluster and remove all of it; does nothing if there is none
    Down,
    /// Show what runs, what is stopped and what is cut; exit code 1 if anything is wrong
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the images of a docker or OCI archive to every node
    LoadImage {
        /// The archive, a tar file
        archive: PathBuf,
    },
    /// Cut the pods of two nodes from each other, established connections too
    Partition(PartitionArguments),
    /// End the cuts between two nodes, or all
    Heal {
        /// One node
        #[arg(requires = "other")]
        node: Option<NodeId>,
        /// The other node
        other: Option<NodeId>,
    },
    /// Take the power from a node; its disk stays
    StopNode {
        /// The node
        node: NodeId,
    },
    /// Start a stopped node
    StartNode {
        /// The node
        node: NodeId,
    },
    /// Stop the API server
    PauseApi,
    /// Start the API server again and wait until it is ready
    ResumeApi,
    /// Empty the volumes whose claims were deleted and offer them again
    RecycleVolumes,
    /// Empty the directory behind a persistent volume
    WipeVolume {
        /// The name of the PersistentVolume
        volume: String,
    },
    /// Add a volume of class local-limited that really ends at its size
    AddLimitedVolume {
        /// The node
        node: NodeId,
        /// Its size
        mebibytes: u32,
    },
    /// Print the path of the kubeconfig
    Kubeconfig,
    /// Print the process number by which nsenter finds the cluster's namespaces
    Pid,
    /// The first process of the namespaces; only `up` runs it
    #[command(hide = true)]
    InsideInit { state: PathBuf },
    /// The supervisor; only the first process runs it
    #[command(hide = true)]
    InsideSupervise { state: PathBuf },
}

#[derive(Args)]
pub(crate) struct UpArguments {
    /// How many nodes
    #[arg(long, default_value_t = Config::DEFAULT_NODES.number(), value_parser = clap::value_parser!(u8).range(1..=i64::from(NodeId::MAX)))]
    pub(crate) nodes: u8,
    /// How many volumes each node offers
    #[arg(long, default_value_t = Config::DEFAULT_VOLUMES)]
    pub(crate) volumes: u8,
    /// Which of the 16 address slots; the first free one if not given
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
    /// Directory of the Kubernetes programs, as scripts/k8s-tools.sh prints it
    #[arg(long, env = "LOCALKUBE_PROGRAMS")]
    pub(crate) programs: Option<PathBuf>,
    /// Directory of the CNI plugins
    #[arg(long)]
    pub(crate) cni: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PartitionArguments {
    /// One node
    pub(crate) node: NodeId,
    /// The other node
    pub(crate) other: NodeId,
    /// Only packets from the first to the second
    #[arg(long)]
    pub(crate) one_way: bool,
    /// Also cut the first node's kubelet and pods from the API server
    #[arg(long)]
    pub(crate) api: bool,
}
