//! [`Options`]: parameters of a run besides the seed.

use crate::planted_defect::PlantedDefect;

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
    /// A defect of the simulated environment or of the node, for the checks to find.
    pub plant: Option<PlantedDefect>,
    /// Largest advance of a clock far ahead, in seconds.
    pub far_clock_seconds: u64,
}

/// Ten minutes: less than the time for which a store recognises a repeated append.
const FAR_CLOCK_SECONDS: u64 = 600;

impl Default for Options {
    fn default() -> Self {
        Self { trace: false, stretch: 1, fault_seconds: 20, plant: None, far_clock_seconds: FAR_CLOCK_SECONDS }
    }
}
