//! The binary: a range gives the same output in every process and on any number of threads.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taffrail-sim")).args(args).output().expect("the simulator starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints text")
}

/// The line of each seed with the hash of the run.
fn summary(output: &Output) -> Vec<String> {
    let lines = text(&output.stdout).lines().filter(|line| line.starts_with("seed "));
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn two_processes_print_the_same() {
    let one = sim(&["--from", "70000", "--seeds", "4", "--fault-seconds", "6", "--jobs", "1"]);
    let other = sim(&["--from", "70000", "--seeds", "4", "--fault-seconds", "6", "--jobs", "2"]);
    assert!(one.status.success(), "{}", text(&one.stdout));
    let lines = text(&one.stdout);
    assert_eq!(lines.matches(" hash ").count(), 4, "{lines}");
    assert_eq!(lines, text(&other.stdout));
}

#[test]
fn every_event_of_a_run_is_the_same_in_two_processes() {
    let args = ["--from", "70008", "--seeds", "1", "--fault-seconds", "4", "--trace"];
    let (one, other) = (sim(&args), sim(&args));
    assert!(one.stdout.len() > 100_000, "a trace has thousands of lines");
    // Not `assert_eq!`, which would print both traces.
    assert!(one.stdout == other.stdout, "two traces of one seed differ");
}

#[test]
fn a_run_with_a_trace_is_the_run_without_a_trace() {
    let mut traced = Vec::new();
    // A run of its own for each seed: the summary of a seed is printed beside the trace of the next.
    for seed in ["70000", "70001"] {
        let run = sim(&["--from", seed, "--seeds", "1", "--fault-seconds", "8", "--trace"]);
        assert!(run.status.success(), "{:?}", text(&run.stdout).lines().rev().take(5).collect::<Vec<_>>());
        traced.extend(summary(&run));
    }
    let untraced = sim(&["--from", "70000", "--seeds", "2", "--fault-seconds", "8", "--jobs", "2"]);
    assert_eq!((traced.len(), summary(&untraced)), (2, traced));
}

#[test]
fn a_failing_seed_is_named_with_the_command_that_runs_it_again() {
    let plant = ["--fault-seconds", "8", "--plant", "one-applies-differently"];
    let failing = sim(&[&["--from", "0", "--seeds", "3", "--jobs", "2"], plant.as_slice()].concat());
    let lines = text(&failing.stdout);
    assert_eq!(failing.status.code(), Some(1), "{lines}");
    let (_, list) = lines.split_once("\nfailed: [").expect("the failed seeds are listed");
    let seed = list.split([',', ']']).next().expect("a list has a first part");
    let again = format!(" --from {seed} --seeds 1 {} --trace\n", plant.join(" "));
    assert!(lines.contains(&again), "{lines}");
    let repeated = sim(&[&["--from", seed, "--seeds", "1"], plant.as_slice()].concat());
    assert_eq!(repeated.status.code(), Some(1), "{}", text(&repeated.stdout));
    assert!(lines.contains(&summary(&repeated).concat()), "{lines}");
}
