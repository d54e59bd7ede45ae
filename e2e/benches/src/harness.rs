//! Sides that take turns. Whatever else the machine does meets all of them, so their ratio in a round is worth more than
//! the rate of any one.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use std::time::Duration;
use tokio::time::Instant;

/// How long everything is measured.
#[derive(Clone, Copy)]
pub struct Pace {
    /// One side in one round.
    pub time: Duration,
    /// How often each side has its turn.
    pub rounds: usize,
}

/// What one side did in one turn.
pub struct Turn {
    /// How many of the case's unit.
    pub units: u64,
    /// In what time.
    pub took: Duration,
    /// Microseconds of each call, where one can be told from another.
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

/// Works for about the time given.
pub type Side<'a> = Box<dyn FnMut(Duration) -> Result<Turn> + 'a>;

/// One path and what it is held against.
pub struct Case<'a> {
    /// What is measured.
    pub path: String,
    /// What is counted.
    pub unit: &'static str,
    /// Our side.
    pub ours: Side<'a>,
    /// The others, by name.
    pub references: Vec<(&'static str, Side<'a>)>,
}

/// A line of the results: a path against one reference.
pub struct Row {
    pub path: String,
    pub unit: &'static str,
    pub reference: &'static str,
    /// Medians over the rounds, units a second.
    pub ours: f64,
    pub theirs: f64,
    /// Ours by theirs in the same round: lowest, median, highest.
    pub ratio: [f64; 3],
    /// Median and 99th percentile of our calls in all rounds, microseconds.
    pub calls: Option<(u64, u64)>,
}

impl Case<'_> {
    /// Measures all sides, one row for each reference.
    pub fn run(mut self, pace: Pace) -> Result<Vec<Row>> {
        let names: Vec<_> = self.references.iter().map(|(name, _)| *name).collect();
        let mut sides = vec![self.ours];
        sides.extend(self.references.drain(..).map(|(_, side)| side));
        // Caches, files and connections of the first turn are nobody's result.
        for side in &mut sides {
            side(pace.time / 4).with_context(|| self.path.clone())?;
        }
        let mut rates = vec![Vec::with_capacity(pace.rounds); sides.len()];
        let mut calls: Option<Histogram<u64>> = None;
        for round in 0..pace.rounds {
            for turn in 0..sides.len() {
                // Another one begins each time, so that none always follows the same one.
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

/// Lowest, median, highest.
fn three(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    [values[0], values[values.len() / 2], values[last]]
}

/// For microseconds, up to a minute.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Microseconds since, for a histogram.
pub fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Repeats `pass` until its own times add up; what it does besides (fresh databases) is not counted.
pub fn passes(time: Duration, mut pass: impl FnMut() -> Result<(u64, Duration)>) -> Result<Turn> {
    let (mut units, mut took) = (0, Duration::ZERO);
    while took < time {
        let (n, t) = pass()?;
        units += n;
        took += t;
    }
    Ok(Turn { units, took, calls: None })
}
