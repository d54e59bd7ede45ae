//! The commands of `localkube`: each calls the library.

use crate::{
    arguments::{Action, Arguments, PartitionArguments, UpArguments},
    status,
};
use std::{path::PathBuf, process::ExitCode};
use taffrail_localkube::{
    Cut, Error, InstanceName, LocalKube, NodeId, Outcome,
    config::{Addresses, Config},
    network::Network,
    supervisor,
};

/// Runs the command and returns the exit code of the process.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let open = || LocalKube::open(&arguments.state_root, &arguments.name);
    match arguments.action {
        Action::Up(args) => up(arguments.name, arguments.state_root, args).await?,
        Action::Down => {
            let existed = LocalKube::down(&arguments.state_root, &arguments.name).await?;
            println!("cluster {} {}", arguments.name, if existed { "is down" } else { "was not up" });
        }
        Action::Status { json } => return status::print(&open()?, json).await,
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
            let pid = open()?.init_pid().ok_or(Error::NotRunning(arguments.name))?;
            println!("{pid}");
        }
        Action::InsideInit { state } => return Ok(supervisor::init(&state)?),
        Action::InsideSupervise { state } => supervisor::supervise(&state).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn up(name: InstanceName, state_root: PathBuf, args: UpArguments) -> anyhow::Result<()> {
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
    let instance = cluster.instance();
    let word = match outcome {
        Outcome::Started => "is up",
        Outcome::AlreadyRunning => "was already up and is healthy",
    };
    println!("cluster {} {word}: {} nodes, API server {}", instance.name, instance.nodes.number(), instance.api_url());
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    Ok(())
}

async fn partition(cluster: &LocalKube, args: &PartitionArguments) -> Result<(), Error> {
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
