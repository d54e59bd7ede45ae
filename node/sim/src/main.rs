//! `taffrail-sim`: runs a range of seeds, prints a line per seed, and lists the failed seeds; with `--power`, searches
//! planted defects.

use clap::{Parser, ValueEnum};
use std::{collections::BTreeMap, process::ExitCode};
use taffrail_sim::{options::Options, planted_defect::PlantedDefect, power, seed_range::run_seeds};
use tokio::time::Instant;

// As in the node: openraft allocates ring buffers in advance, and other allocators fill untouched buffers.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Simulates a cluster of whole nodes under faults. The seed decides the whole run; a failing seed fails again.
#[derive(Parser)]
struct Args {
    /// First seed of the range.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Number of seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Number of threads.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Prints every event; runs on a single thread.
    #[arg(long)]
    trace: bool,
    /// Multiplies all times, by 16 without a number, so that events closer than a millisecond, the step of timers, get different
    /// times.
    #[arg(long, default_value = "1", num_args = 0..=1, default_missing_value = "16")]
    stretch: u32,
    /// Simulated seconds of faults, before stretching.
    #[arg(long, default_value_t = Options::default().fault_seconds)]
    fault_seconds: u32,
    /// Largest advance of a clock far ahead, in seconds.
    #[arg(long, default_value_t = Options::default().far_clock_seconds)]
    far_clock_seconds: u64,
    /// Prints how often each kind of event has occurred in all seeds together.
    #[arg(long)]
    counts: bool,
    /// Plants a defect in the simulated environment or in the code of the node; the checks must find the defect.
    #[arg(long)]
    plant: Option<PlantedDefect>,
    /// Plants each defect in turn and runs seeds until the checks find the defect; the number of seeds is the limit.
    #[arg(long)]
    power: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        trace: args.trace,
        stretch: args.stretch.max(1),
        fault_seconds: args.fault_seconds,
        plant: args.plant,
        far_clock_seconds: args.far_clock_seconds,
    };
    let jobs = if args.trace { 1 } else { args.jobs };
    if args.power {
        return power(&args, jobs, options);
    }
    let (mut failed, mut counts) = (Vec::new(), BTreeMap::new());
    let begin = Instant::now();
    run_seeds(args.from, args.seeds, jobs, options, |report| {
        println!("{report}");
        for (what, n) in &report.counts {
            *counts.entry(*what).or_insert(0) += n;
        }
        if !report.failures.is_empty() {
            report.failures.iter().take(20).for_each(|why| println!("  {why}"));
            failed.push(report.seed);
        }
    });
    if args.counts {
        counts.iter().for_each(|(what, n)| println!("{n} {what}"));
    }
    // Not part of the output, which is the same in every process.
    eprintln!("{:.2} runs per second", args.seeds as f64 / begin.elapsed().as_secs_f64());
    println!("{} seeds, {} failed", args.seeds, failed.len());
    let Some(first) = failed.first() else { return ExitCode::SUCCESS };
    println!("failed: {failed:?}");
    println!("again: {} --from {first} --seeds 1{} --trace", program(), varied(&options));
    ExitCode::FAILURE
}

/// Searches each planted defect, or the requested defect alone.
fn power(args: &Args, jobs: usize, options: Options) -> ExitCode {
    let defects = args.plant.map_or_else(|| PlantedDefect::value_variants().to_vec(), |defect| vec![defect]);
    let mut missed = 0;
    for defect in &defects {
        let name = defect.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        match power::search(*defect, args.from, args.seeds, jobs, options) {
            Ok(found) => println!("{name}: {found}"),
            Err(why) => {
                println!("{name}: MISSED: {why}");
                missed += 1;
            }
        }
    }
    println!("{} planted defects, {missed} missed", defects.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "taffrail-sim".into())
}

/// The arguments for the same run.
fn varied(options: &Options) -> String {
    let (usual, mut out) = (Options::default(), String::new());
    if options.stretch != usual.stretch {
        out.push_str(&format!(" --stretch {}", options.stretch));
    }
    if options.fault_seconds != usual.fault_seconds {
        out.push_str(&format!(" --fault-seconds {}", options.fault_seconds));
    }
    if let Some(plant) = options.plant.and_then(|p| p.to_possible_value()) {
        out.push_str(&format!(" --plant {}", plant.get_name()));
    }
    if options.far_clock_seconds != usual.far_clock_seconds {
        out.push_str(&format!(" --far-clock-seconds {}", options.far_clock_seconds));
    }
    out
}
