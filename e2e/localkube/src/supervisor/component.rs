//! A supervised program: logs to a file and is restarted with exponential backoff after an unexpected exit.

use crate::{command, control_plane::Launch, layout::Layout, protocol::ComponentStatus};
use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The backoff before a restart doubles up to the maximum. A run longer than [`RUN_LONG_ENOUGH`] resets the backoff.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const RUN_LONG_ENOUGH: Duration = Duration::from_secs(30);

/// A supervised program. Dropping this value leaves the program running; [`Component::stop`] ends it.
#[derive(Debug)]
#[must_use = "a component that nobody holds cannot be stopped"]
pub(super) struct Component {
    seen: Arc<Mutex<ComponentStatus>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Component {
    /// Starts a program, and restarts the program after each end. The program runs when the function returns, unless
    /// the first start has failed.
    #[expect(clippy::disallowed_methods, reason = "no part of a simulation; the tracker waits for this task")]
    pub(super) fn start(launch: Launch, layout: &Layout, tasks: &TaskTracker) -> Self {
        let log = layout.log(&launch.name);
        let first = spawn(&launch, &log);
        let running = first.is_ok();
        let seen = ComponentStatus { name: launch.name.clone(), running, restarts: 0, last_exit: None };
        let seen = Arc::new(Mutex::new(seen));
        let stop = CancellationToken::new();
        let keeper = Keeper { log, launch, seen: Arc::clone(&seen), stop: stop.clone() };
        Self { seen, stop, task: tasks.spawn(keeper.run(first)) }
    }

    /// Kills the program and waits for its end.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // The task neither panics nor is aborted. If it ended early, `kill_on_drop` would kill the program as well.
        let _ = self.task.await;
    }

    pub(super) fn status(&self) -> ComponentStatus {
        lock(&self.seen).clone()
    }
}

fn lock(seen: &Mutex<ComponentStatus>) -> MutexGuard<'_, ComponentStatus> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    launch: Launch,
    log: std::path::PathBuf,
    seen: Arc<Mutex<ComponentStatus>>,
    stop: CancellationToken,
}

impl Keeper {
    /// Keeps the program running, which `first` has started.
    async fn run(self, first: io::Result<Child>) {
        let (mut pause, mut start) = (PAUSE_FIRST, first);
        loop {
            let started = Instant::now();
            let exit = match start {
                Ok(child) => {
                    lock(&self.seen).running = true;
                    self.until_end(child).await
                }
                Err(error) => Some(format!("cannot start: {error}")),
            };
            lock(&self.seen).running = false;
            let Some(exit) = exit else { return };
            println!("{} ended unexpectedly: {exit}; restarting", self.launch.name);
            {
                let mut seen = lock(&self.seen);
                seen.restarts += 1;
                seen.last_exit = Some(exit);
            }
            if started.elapsed() > RUN_LONG_ENOUGH {
                pause = PAUSE_FIRST;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
            start = spawn(&self.launch, &self.log);
        }
    }

    /// Waits for the end of the program. Returns the exit status or error, or `None` after a requested stop.
    async fn until_end(&self, mut child: Child) -> Option<String> {
        let ended = tokio::select! {
            exit = child.wait() => Some(exit),
            () = self.stop.cancelled() => None,
        };
        match ended {
            Some(exit) => Some(exit.map_or_else(|error| error.to_string(), |status| status.to_string())),
            None => {
                if let Err(error) = child.kill().await {
                    println!("{} cannot be killed: {error}", self.launch.name);
                }
                None
            }
        }
    }
}

fn spawn(launch: &Launch, log: &Path) -> io::Result<Child> {
    let out: File = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = match &launch.cgroup {
        None => Command::new(&launch.program),
        // The shell enters the cgroup before `exec`, so every child process starts inside the cgroup.
        Some(cgroup) => {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", r#"echo $$ >"$1"/cgroup.procs && shift && exec "$@""#, "sh"]);
            shell.arg(cgroup).arg(&launch.program);
            shell
        }
    };
    command.args(&launch.args).env("PATH", command::search_path()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;
    use std::path::PathBuf;

    fn launch(name: &str, script: &str) -> Launch {
        Launch {
            name: name.to_owned(),
            program: PathBuf::from("/bin/sh"),
            args: vec!["-c".to_owned(), script.to_owned()],
            cgroup: None,
        }
    }

    #[tokio::test]
    async fn a_component_that_ends_is_started_again_and_says_how_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        std::fs::create_dir_all(layout.logs()).unwrap();
        let tasks = TaskTracker::new();
        let component = Component::start(launch("short", "echo started; exit 7"), &layout, &tasks);
        let status = wait::until("a restart", Duration::from_secs(10), || {
            let status = component.status();
            async move { if status.restarts > 0 { Ok(status) } else { Err("none yet") } }
        })
        .await
        .unwrap();
        assert!(status.last_exit.unwrap().contains('7'));
        component.stop().await;
        assert!(std::fs::read_to_string(layout.log("short")).unwrap().contains("started"));
    }

    #[tokio::test]
    async fn a_stopped_component_is_gone_when_stop_returns() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        std::fs::create_dir_all(layout.logs()).unwrap();
        let tasks = TaskTracker::new();
        let component = Component::start(launch("long", "exec sleep 600"), &layout, &tasks);
        assert!(component.status().running, "a component runs once it is started");
        component.stop().await;
        tasks.close();
        tasks.wait().await;
    }
}
