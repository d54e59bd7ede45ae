//! Fault points: named places in the code. A test arms a fault point to end the process at this place, as SIGKILL would
//! ([`reach`]), or to end a task or thread with a panic ([`panic_at`]). A simulation learns of each arrival at [`reach`], and
//! may crash the node.
//!
//! Environment variables arm a fault point. Without the variables [`reach`] does nothing in a process, and costs a read
//! of a static and of the scope.
//!
//! - `TAFFRAIL_FAILPOINT=NAME[:N]`: the process aborts at its N-th arrival at `NAME`.
//! - `TAFFRAIL_FAILPOINT_FILE=PATH`: the first line of the file, if the file exists, is `NAME:N`. Every process
//!   with the variable appends the name of each fault point on arrival; the process with the N-th line `NAME`
//!   aborts. The count therefore includes all processes of a cluster and their restarts, and a test reads the
//!   progress from the file.
//! - `TAFFRAIL_PANIC_POINT=NAME[:N]`: the N-th arrival at `NAME` panics. The places are loops of a node, so no file
//!   records the arrivals.

use std::{
    fmt::Display,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
static REACHED: AtomicU64 = AtomicU64::new(0);
static PANIC_ARMED: OnceLock<Option<Trigger>> = OnceLock::new();
static PANIC_REACHED: AtomicU64 = AtomicU64::new(0);

enum Armed {
    /// Arrivals are counted in this process.
    Process(Trigger),
    /// Arrivals are counted in a file shared by several processes.
    File(PathBuf),
}

/// The armed fault point, and the number of the arrival that aborts.
#[derive(Debug, PartialEq, Eq)]
struct Trigger {
    name: String,
    n: u64,
}

impl Trigger {
    fn parse(text: &str) -> Self {
        let (name, n) = text.split_once(':').unwrap_or((text, "1"));
        Self { name: name.to_owned(), n: n.parse().unwrap_or(1) }
    }
}

impl Armed {
    fn from_env() -> Option<Self> {
        if let Some(path) = std::env::var_os("TAFFRAIL_FAILPOINT_FILE") {
            return Some(Self::File(path.into()));
        }
        std::env::var("TAFFRAIL_FAILPOINT").ok().map(|text| Self::Process(Trigger::parse(&text)))
    }
}

/// Aborts the process when `name` is armed and this arrival is the counted arrival. `name` is formatted only in a
/// process with one of the variables, so callers pass `format_args!`.
///
/// ```
/// // Nothing is armed: the call returns.
/// taffrail_runtime::failpoint::reach("membership-joint-write");
/// ```
pub fn reach(name: impl Display) {
    crate::at_failpoint(&name);
    let Some(armed) = ARMED.get_or_init(Armed::from_env) else { return };
    let name = &name.to_string();
    let dies = match armed {
        Armed::Process(trigger) => trigger.name == *name && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == trigger.n,
        Armed::File(path) => arrive(path, name).unwrap_or_else(|error| {
            tracing::error!(%error, path = %path.display(), "the fault point file cannot be used");
            false
        }),
    };
    if dies {
        tracing::error!(place = name, "fault point reached: the process ends here");
        std::process::abort();
    }
}

/// Panics when `name` is armed by `TAFFRAIL_PANIC_POINT` and this arrival is the counted arrival.
///
/// ```
/// // Nothing is armed: the call returns.
/// taffrail_runtime::failpoint::panic_at("log-writer");
/// ```
pub fn panic_at(name: &str) {
    let armed = || std::env::var("TAFFRAIL_PANIC_POINT").ok().map(|text| Trigger::parse(&text));
    let Some(trigger) = PANIC_ARMED.get_or_init(armed) else { return };
    let dies = trigger.name == name && PANIC_REACHED.fetch_add(1, Ordering::Relaxed) + 1 == trigger.n;
    assert!(!dies, "panic point {name} reached");
}

/// Records an arrival at `name`. Returns true when this arrival is the counted arrival.
fn arrive(path: &Path, name: &str) -> io::Result<bool> {
    let mut file = match File::options().read(true).append(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    // Two processes may reach the same fault point at the same time, and each process must count the arrival of
    // the other process.
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    file.write_all(format!("{name}\n").as_bytes())?;
    let mut lines = text.lines();
    let trigger = Trigger::parse(lines.next().unwrap_or_default());
    let before = lines.filter(|line| *line == name).count();
    Ok(trigger.name == name && u64::try_from(before).is_ok_and(|before| before + 1 == trigger.n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_arrival_of_all_is_the_armed_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("points");
        assert!(!arrive(&path, "a").unwrap(), "nothing is armed without the file");
        std::fs::write(&path, "a:2\n").unwrap();
        let arrivals = ["b", "a", "b", "a", "a"].map(|name| arrive(&path, name).unwrap());
        assert_eq!(arrivals, [false, false, false, true, false]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a:2\nb\na\nb\na\na\n");
    }

    #[test]
    fn a_place_without_a_number_is_the_first_time() {
        assert_eq!(Trigger::parse("a"), Trigger { name: "a".into(), n: 1 });
        assert_eq!(Trigger::parse("a:3"), Trigger { name: "a".into(), n: 3 });
    }
}
