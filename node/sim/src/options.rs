//! [`Options`]: the variations of a run besides its seed.

use crate::planted_defect::PlantedDefect;
use clap::ValueEnum;
use taffrail_core::ids::ReplicaId;

/// Which of the first replicas make the first membership, at each of their starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Formers {
    /// The first, as where nobody is lost.
    One,
    /// All, as where each takes the others for lost.
    All,
    /// All but the first, as where that one is lost before it could.
    Others,
}

impl Formers {
    /// Whether one of the first replicas does it.
    #[must_use]
    pub fn include(self, replica: ReplicaId) -> bool {
        match self {
            Self::One => replica.get() == 1,
            Self::All => true,
            Self::Others => replica.get() != 1,
        }
    }
}

/// Variations of a run besides its seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Prints every event of the run.
    pub trace: bool,
    /// All times are multiplied by it. Timers have steps of a millisecond, so events that are closer than that fall
    /// together; stretched they come apart, and orders appear that are otherwise never seen.
    pub stretch: u32,
    /// Simulated seconds of faults, before stretching.
    pub fault_seconds: u32,
    /// A defect of the surroundings that the checks must find.
    pub plant: Option<PlantedDefect>,
    /// Who forms the group.
    pub formers: Formers,
    /// Now and then a replica that is to move is fenced first, as one that is odd.
    pub fences: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { trace: false, stretch: 1, fault_seconds: 8, plant: None, formers: Formers::One, fences: false }
    }
}
