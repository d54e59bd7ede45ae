//! What a run varies apart from its seed.

use crate::plant::Plant;

/// See the module.
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
    pub plant: Option<Plant>,
}

impl Default for Options {
    fn default() -> Self {
        Self { trace: false, stretch: 1, fault_seconds: 8, plant: None }
    }
}
