//! Process identity, robust against reuse of the process id.

use crate::{
    error::{Error, Io},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path, time::Duration};

/// A process, identified by process id and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pid: i32,
    started: u64,
}

/// Fields of `/proc/PID/stat`.
struct Stat {
    state: String,
    parent: i32,
    started: u64,
}

impl ProcessId {
    /// Returns the first child of `parent` found, if any.
    pub(crate) fn child_of(parent: u32) -> Option<Self> {
        let entries = fs::read_dir("/proc").ok()?;
        let mut pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let parent = i32::try_from(parent).ok()?;
        pids.find_map(|pid| {
            let stat = stat(pid)?;
            (stat.parent == parent).then_some(Self { pid, started: stat.started })
        })
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    /// Returns whether the process is running. A zombie counts as ended.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != "Z" && stat.state != "X")
    }

    /// Kills the process and waits for its end.
    pub(crate) async fn kill(self) -> Result<(), Error> {
        if self.is_alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // The process may have ended since the check; the wait below decides.
            let _ = kill_process(pid, Signal::KILL);
        }
        let gone = || async move { if self.is_alive() { Err("still running") } else { Ok(()) } };
        wait::until("the process to end", Duration::from_secs(20), gone).await.map_err(|_| Error::DoesNotEnd(self.pid))
    }

    pub(crate) fn load(path: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    pub(crate) fn save(self, path: &Path) -> Result<(), Error> {
        let text = serde_json::json!(self).to_string();
        fs::write(path, text).map_err(|source| Io::new("write", path, source).into())
    }
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses `/proc/PID/stat`. The command name is in parentheses and may contain any character, so fields are counted
/// from the last closing parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some(Stat {
        state: (*fields.first()?).to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pid: u32) -> ProcessId {
        let pid = i32::try_from(pid).unwrap();
        ProcessId { pid, started: stat(pid).unwrap().started }
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = parse_stat("7 (a) S 1) S 42 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9876 0 0").unwrap();
        assert_eq!((stat.state.as_str(), stat.parent, stat.started), ("S", 42, 9876));
    }

    #[test]
    fn this_process_is_alive_and_an_earlier_one_of_its_number_is_not() {
        let me = of(std::process::id());
        assert!(me.is_alive());
        assert!(!ProcessId { started: me.started + 1, ..me }.is_alive());
    }

    #[tokio::test]
    async fn a_killed_process_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let id = of(child.id());
        id.kill().await.unwrap();
        assert!(!id.is_alive());
        child.wait().unwrap();
    }
}
