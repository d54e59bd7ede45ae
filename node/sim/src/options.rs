//! [`Options`]: parameters of a run besides the seed.

use crate::planted_defect::PlantedDefect;
use clap::ValueEnum;
use taffrail_core::ids::ReplicaId;

/// The first replicas writing the first membership, at each of their starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Formers {
    /// The first replica, as in a group without losses.
    One,
    /// All replicas, as if each replica considers the other replicas lost.
    All,
    /// All replicas except the first, as if the first replica is lost before the write.
    Others,
}

impl Formers {
    /// True for a replica writing the first membership.
    #[must_use]
    pub fn include(self, replica: ReplicaId) -> bool {
        match self {
            Self::One => replica.get() == 1,
            Self::All => true,
            Self::Others => replica.get() != 1,
        }
    }
}

/// Parameters of a run besides the seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Prints every event of the run.
    pub trace: bool,
    /// Factor of all times. Timers have steps of a millisecond, so events within a millisecond coincide; stretched events get
    /// different times, and new orders of events appear.
    pub stretch: u32,
    /// Simulated seconds of faults, before stretching.
    pub fault_seconds: u32,
    /// A defect of the simulated environment, for the checks to find.
    pub plant: Option<PlantedDefect>,
    /// Replicas writing the first membership.
    pub formers: Formers,
    /// Fences some replicas before a move, like divergent replicas.
    pub fences: bool,
    /// Runs whole nodes with several stores instead of the replicas of a single group.
    pub cluster: bool,
    /// Largest advance of a clock far ahead, in seconds; for whole nodes.
    pub far_clock_seconds: u64,
}

/// Ten minutes: less than the time for which a store recognises a repeated append.
const FAR_CLOCK_SECONDS: u64 = 600;
/// Simulated seconds of faults of a run of whole nodes, whose pauses are longer.
pub const CLUSTER_FAULT_SECONDS: u32 = 20;

impl Options {
    /// A run of whole nodes.
    #[must_use]
    pub fn cluster() -> Self {
        Self { cluster: true, fault_seconds: CLUSTER_FAULT_SECONDS, ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trace: false,
            stretch: 1,
            fault_seconds: 8,
            plant: None,
            formers: Formers::One,
            fences: false,
            cluster: false,
            far_clock_seconds: FAR_CLOCK_SECONDS,
        }
    }
}
