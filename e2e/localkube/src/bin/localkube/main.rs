//! `localkube`: a real Kubernetes on this machine, and the means to break it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use taffrail_e2e::localkube::config::{Addresses, Config};
use taffrail_e2e::localkube::network::{Ipv4Range, Network, Slot};
use taffrail_e2e::localkube::{Cut, Error, InstanceName, LocalKube, NodeId, Outcome, Status, supervisor};

/// A real Kubernetes on one machine, without a container engine. Needs root.
#[derive(Parser)]
#[command(name = "localkube", version, max_term_width = 100)]
struct Cli {
    /// Which cluster on this machine
    #[arg(long, global = true, env = "LOCALKUBE_NAME", default_value = Config::DEFAULT_NAME)]
    name: InstanceName,
    /// Directory, on a disk, below which each cluster keeps all of its files
    #[arg(long, global = true, env = "LOCALKUBE_STATE_ROOT", default_value = Config::DEFAULT_STATE_ROOT)]
    state_root: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start the cluster, or find it running and healthy
    Up(UpArgs),
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
    Partition(PartitionArgs),
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
struct UpArgs {
    /// How many nodes
    #[arg(long, default_value_t = Config::DEFAULT_NODES, value_parser = clap::value_parser!(u8).range(1..=i64::from(NodeId::MAX)))]
    nodes: u8,
    /// How many volumes each node offers
    #[arg(long, default_value_t = Config::DEFAULT_VOLUMES)]
    volumes: u8,
    /// Which of the 16 address slots; the first free one if not given
    #[arg(long, conflicts_with_all = ["link", "pods", "services"])]
    slot: Option<Slot>,
    /// Address range of host, API server and nodes, /27 or larger
    #[arg(long, requires_all = ["pods", "services"])]
    link: Option<Ipv4Range>,
    /// Address range of pods, /20 or larger
    #[arg(long, requires_all = ["link", "services"])]
    pods: Option<Ipv4Range>,
    /// Address range of Services, /24 or larger
    #[arg(long, requires_all = ["link", "pods"])]
    services: Option<Ipv4Range>,
    /// Directory of the Kubernetes programs, as scripts/k8s-tools.sh prints it
    #[arg(long, env = "LOCALKUBE_PROGRAMS")]
    programs: Option<PathBuf>,
    /// Directory of the CNI plugins
    #[arg(long)]
    cni: Option<PathBuf>,
}

#[derive(Args)]
struct PartitionArgs {
    /// One node
    node: NodeId,
    /// The other node
    other: NodeId,
    /// Only packets from the first to the second
    #[arg(long)]
    one_way: bool,
    /// Also cut the first node's kubelet and pods from the API server
    #[arg(long)]
    api: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(code) => code,
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("localkube: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let open = || LocalKube::open(&cli.state_root, &cli.name);
    match cli.action {
        Action::Up(args) => up(cli.name, cli.state_root, args).await?,
        Action::Down => {
            let existed = LocalKube::down(&cli.state_root, &cli.name).await?;
            println!("cluster {} {}", cli.name, if existed { "is down" } else { "was not up" });
        }
        Action::Status { json } => return status(&open()?, json).await,
        Action::LoadImage { archive } => open()?.load_image(&archive).await?,
        Action::Partition(args) => partition(&open()?, &args).await?,
        Action::Heal { node: Some(node), other: Some(other) } => open()?.heal_between(node, other).await?,
        Action::Heal { .. } => open()?.heal().await?,
        Action::StopNode { node } => open()?.stop_node(node).await?,
        Action::StartNode { node } => open()?.start_node(node).await?,
        Action::PauseApi => open()?.pause_api().await?,
        Action::ResumeApi => open()?.resume_api().await?,
        Action::RecycleVolumes => {
            for name in open()?.recycle_released_volumes().await? {
                println!("{name}");
            }
        }
        Action::WipeVolume { volume } => open()?.wipe_volume(&volume).await?,
        Action::AddLimitedVolume { node, mebibytes } => {
            println!("{}", open()?.add_limited_volume(node, mebibytes).await?);
        }
        Action::Kubeconfig => println!("{}", open()?.kubeconfig().display()),
        Action::Pid => {
            let pid = open()?.init_pid().ok_or(Error::NotRunning(cli.name))?;
            println!("{pid}");
        }
        Action::InsideInit { state } => return Ok(supervisor::init(&state)?),
        Action::InsideSupervise { state } => supervisor::supervise(&state).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn up(name: InstanceName, state_root: PathBuf, args: UpArgs) -> anyhow::Result<()> {
    let mut config = Config::new(name, std::env::current_exe()?);
    config.state_root = state_root;
    config.nodes = NodeId::try_from(args.nodes)?;
    config.volumes_per_node = args.volumes;
    config.addresses = match (args.slot, args.link, args.pods, args.services) {
        (Some(slot), ..) => Addresses::Slot(slot),
        (None, Some(link), Some(pods), Some(services)) => Addresses::Given(Network::new(link, pods, services)?),
        (None, ..) => Addresses::FirstFree,
    };
    if let Some(programs) = args.programs {
        config.programs.kubernetes = programs;
    }
    if let Some(cni) = args.cni {
        config.programs.cni = cni;
    }
    let (cluster, outcome) = LocalKube::up(&config, &|step| eprintln!("localkube: {step}")).await?;
    let machine = cluster.machine();
    let word = match outcome {
        Outcome::Started => "is up",
        Outcome::AlreadyRunning => "was already up and is healthy",
    };
    println!("cluster {} {word}: {} nodes, API server {}", machine.name, machine.nodes.number(), machine.api_url());
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    Ok(())
}

async fn partition(cluster: &LocalKube, args: &PartitionArgs) -> Result<(), Error> {
    let (from, to) = (args.node, args.other);
    let mut cuts = vec![Cut::Pods { from, to }];
    if !args.one_way {
        cuts.push(Cut::Pods { from: to, to: from });
    }
    if args.api {
        cuts.push(Cut::Api { node: from });
    }
    cluster.cut(cuts).await
}

async fn status(cluster: &LocalKube, json: bool) -> anyhow::Result<ExitCode> {
    let status = cluster.status().await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print(cluster, &status);
    }
    Ok(if status.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(cluster: &LocalKube, status: &Status) {
    let machine = cluster.machine();
    println!("cluster {} in {}", machine.name, machine.state.display());
    println!(
        "API server {}, pods {}, Services {}",
        machine.api_url(),
        machine.network.pods(),
        machine.network.services()
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
    println!("logs: {}", machine.layout().logs().display());
}
