//! Measurement of several sides in turns. Disturbances on the machine affect all sides, so the ratio within a round is
//! more reliable than the rate of a single side.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use std::time::Duration;
use tokio::time::Instant;

/// Duration of the measurements.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Duration of a turn.
    pub time: Duration,
    /// Number of rounds; each side has a turn in every round.
    pub rounds: usize,
}

/// The result of a single turn.
pub struct Turn {
    /// Amount of work, in the unit of the case.
    pub units: u64,
    /// Duration of the work.
    pub took: Duration,
    /// Latency of each call in microseconds, if the calls can be distinguished.
    pub calls: Option<Histogram<u64>>,
}

impl Turn {
    fn rate(&self) -> f64 {
        // Counts stay far below 2^52.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let units = self.units as f64;
        units / self.took.as_secs_f64()
    }
}

/// A side of a comparison: works for approximately the given time.
pub type Side<'a> = Box<dyn FnMut(Duration) -> Result<Turn> + 'a>;

/// A code path with its baselines.
pub struct Case<'a> {
    /// Name of the measured path.
    pub path: String,
    /// Name of the counted unit.
    pub unit: &'static str,
    /// The measured implementation.
    pub ours: Side<'a>,
    /// The baselines, by name.
    pub references: Vec<(&'static str, Side<'a>)>,
}

/// A line of the results: the comparison of a path with a baseline.
pub struct Row {
    pub path: String,
    pub unit: &'static str,
    pub reference: &'static str,
    /// Median rates over the rounds, in units per second.
    pub ours: f64,
    pub theirs: f64,
    /// Ratio of our rate to the baseline's rate in the same round: lowest, median, highest.
    pub ratio: [f64; 3],
    /// Median and 99th percentile of our call latencies over all rounds, in microseconds.
    pub calls: Option<(u64, u64)>,
}

impl Case<'_> {
    /// Measures all sides. Returns a row for each baseline.
    pub fn run(mut self, pace: Pace) -> Result<Vec<Row>> {
        let names: Vec<_> = self.references.iter().map(|(name, _)| *name).collect();
        let mut sides = vec![self.ours];
        sides.extend(self.references.drain(..).map(|(_, side)| side));
        // Warm-up: the first turn fills caches, creates files and opens connections, so its result is dropped.
        for side in &mut sides {
            side(pace.time / 4).with_context(|| self.path.clone())?;
        }
        let mut rates = vec![Vec::with_capacity(pace.rounds); sides.len()];
        let mut calls: Option<Histogram<u64>> = None;
        for round in 0..pace.rounds {
            for turn in 0..sides.len() {
                // Each round starts with another side, so no side always follows the same side.
                let at = (round + turn) % sides.len();
                let turn = sides[at](pace.time).with_context(|| self.path.clone())?;
                rates[at].push(turn.rate());
                if at == 0
                    && let Some(new) = turn.calls
                {
                    calls.get_or_insert(histogram()?).add(new)?;
                }
            }
        }
        let calls = calls.map(|c| (c.value_at_quantile(0.5), c.value_at_quantile(0.99)));
        let rows = names.into_iter().zip(&rates[1..]).map(|(reference, theirs)| {
            let ratio = rates[0].iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
            Row {
                path: self.path.clone(),
                unit: self.unit,
                reference,
                ours: three(rates[0].clone())[1],
                theirs: three(theirs.clone())[1],
                ratio: three(ratio.collect()),
                calls,
            }
        });
        let rows: Vec<Row> = rows.collect();
        for row in &rows {
            println!("{}", super::results::line(row));
        }
        Ok(rows)
    }
}

/// Returns the lowest, the median and the highest value.
fn three(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    [values[0], values[values.len() / 2], values[last]]
}

/// Creates a histogram for microseconds, up to a minute.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Returns the microseconds since an instant, for a histogram.
pub fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Repeats `pass` until the sum of the reported times reaches `time`. Preparation inside `pass`, such as opening a
/// fresh database, is not counted.
pub fn passes(time: Duration, mut pass: impl FnMut() -> Result<(u64, Duration)>) -> Result<Turn> {
    let (mut units, mut took) = (0, Duration::ZERO);
    while took < time {
        let (n, t) = pass()?;
        units += n;
        took += t;
    }
    Ok(Turn { units, took, calls: None })
}
