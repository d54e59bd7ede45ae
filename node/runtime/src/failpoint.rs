//! Places at which a test lets the process die, as by SIGKILL. Without either variable nothing ever happens, and the cost
//! is one look at a value that was read once.
//!
//! `TAFFRAIL_FAILPOINT=NAME[:N]`: this process dies the N-th time that it comes to the place.
//! `TAFFRAIL_FAILPOINT_FILE=PATH`: the first line of the file, if there is one, is `NAME:N`, and every process that is
//! given the file appends a line for each place that it comes to. Whoever is the N-th at the place dies, so the count
//! runs over all processes of a cluster and over their restarts, and a test sees in the file how far it is.

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

enum Armed {
    /// Counted in this process.
    Alone(Place),
    /// Counted in a file.
    Together(PathBuf),
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    name: String,
    n: u64,
}

impl Place {
    fn parse(text: &str) -> Self {
        let (name, n) = text.split_once(':').unwrap_or((text, "1"));
        Self { name: name.to_owned(), n: n.parse().unwrap_or(1) }
    }
}

impl Armed {
    fn from_env() -> Option<Self> {
        if let Some(path) = std::env::var_os("TAFFRAIL_FAILPOINT_FILE") {
            return Some(Self::Together(path.into()));
        }
        std::env::var("TAFFRAIL_FAILPOINT").ok().map(|text| Self::Alone(Place::parse(&text)))
    }
}

/// Dies here if this is the armed place. A name is only put together where one may be armed.
pub fn reach(name: impl Display) {
    let Some(armed) = ARMED.get_or_init(Armed::from_env) else { return };
    let name = &name.to_string();
    let dies = match armed {
        Armed::Alone(place) => place.name == *name && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == place.n,
        Armed::Together(path) => arrive(path, name).unwrap_or_else(|error| {
            tracing::error!(%error, path = %path.display(), "the file of the fault points cannot be used");
            false
        }),
    };
    if dies {
        tracing::error!(place = name, "fault point reached: the process ends here");
        std::process::abort();
    }
}

/// Counts one arrival at `name`; true for the one that is armed.
fn arrive(path: &Path, name: &str) -> io::Result<bool> {
    let mut file = match File::options().read(true).append(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    // Two processes may come to the same place at the same time: each must count the other.
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    file.write_all(format!("{name}\n").as_bytes())?;
    let mut lines = text.lines();
    let place = Place::parse(lines.next().unwrap_or_default());
    let before = lines.filter(|line| *line == name).count();
    Ok(place.name == name && u64::try_from(before).is_ok_and(|before| before + 1 == place.n))
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
        assert_eq!(Place::parse("a"), Place { name: "a".into(), n: 1 });
        assert_eq!(Place::parse("a:3"), Place { name: "a".into(), n: 3 });
    }
}
