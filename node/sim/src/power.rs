//! [`search`]: the power of the checks, as the number of seeds until a planted defect is found.

use crate::{
    options::Options,
    planted_defect::PlantedDefect,
    run::{Report, run},
    seed_range::run_seeds,
};
use std::fmt;

/// A planted defect and the first seed with the defect found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The failing run.
    pub report: Report,
    /// Number of seeds until the failing run.
    pub seeds: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.report.failures.first().map_or("", String::as_str);
        write!(f, "seed {}, found after {} seeds: {why}", self.report.seed, self.seeds)
    }
}

/// Runs seeds from `from` on with a planted defect until a check fails.
///
/// # Errors
/// No check fails within `seeds` seeds, or the failing seed also fails without the defect.
pub fn search(defect: PlantedDefect, from: u64, seeds: u64, jobs: usize, options: Options) -> Result<Found, String> {
    let options = Options { plant: Some(defect), ..options };
    let (mut done, mut found) = (0, None);
    while done < seeds && found.is_none() {
        // A seed for each thread: failing runs are long, because the cluster does not settle.
        let part = (jobs.max(1) as u64).min(seeds - done);
        run_seeds(from + done, part, jobs, options, |report| {
            if found.is_none() && !report.failures.is_empty() {
                found = Some(report.clone());
            }
        });
        done += part;
    }
    let report = found.ok_or_else(|| format!("not found in {seeds} seeds"))?;
    let sound = run(report.seed, Options { plant: None, ..options });
    match sound.failures.first() {
        Some(why) => Err(format!("seed {} also fails without the defect: {why}", report.seed)),
        None => Ok(Found { seeds: report.seed - from + 1, report }),
    }
}
