//! The file in which all processes of a run count the coordinator's writes.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Before and after a command for the catalogue, before and after a change of a membership or leadership.
pub(crate) const POINTS: [&str; 4] =
    ["coordinator-propose", "coordinator-proposed", "coordinator-change", "coordinator-changed"];

/// Where somebody is to die.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) point: &'static str,
    pub(crate) n: u64,
}

/// How often each point was come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached([u64; POINTS.len()]);

impl Reached {
    pub(crate) fn of(&self, point: &str) -> u64 {
        POINTS.iter().zip(self.0).find(|(name, _)| **name == point).map_or(0, |(_, n)| n)
    }
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, n) in POINTS.iter().zip(self.0) {
            write!(f, "{name} {n} ")?;
        }
        Ok(())
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Points(PathBuf);

impl Points {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.join("points"))
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Counts from zero, and lets somebody die at `fault`.
    pub(crate) fn arm(&self, fault: Option<Fault>) {
        let armed = fault.map_or_else(|| "none".to_owned(), |fault| format!("{}:{}", fault.point, fault.n));
        // By renaming: a process that is counting at this moment does so in the file of the phase before.
        let aside = self.0.with_extension("new");
        fs::write(&aside, format!("{armed}\n")).unwrap();
        fs::rename(&aside, &self.0).unwrap();
    }

    pub(crate) fn reached(&self) -> Reached {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let mut reached = Reached::default();
        for line in text.lines().skip(1) {
            if let Some(at) = POINTS.iter().position(|point| *point == line) {
                reached.0[at] += 1;
            }
        }
        reached
    }
}
