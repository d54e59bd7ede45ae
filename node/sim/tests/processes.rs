//! The binary: a range gives the same output in every process and on any number of threads.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taffrail-sim")).args(args).output().expect("the simulator starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints text")
}

#[test]
fn two_processes_print_the_same() {
    let one = sim(&["--from", "70000", "--seeds", "8", "--jobs", "1"]);
    let other = sim(&["--from", "70000", "--seeds", "8", "--jobs", "2"]);
    assert!(one.status.success(), "{}", text(&one.stdout));
    let lines = text(&one.stdout);
    assert_eq!(lines.matches(" hash ").count(), 8, "{lines}");
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
fn every_event_of_whole_nodes_is_the_same_in_two_processes() {
    let summary = |output: &Output| {
        let hashes = text(&output.stdout).lines().filter(|line| line.starts_with("seed "));
        hashes.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let mut traced = Vec::new();
    // A run of its own for each seed: the summary of a seed is printed beside the trace of the next.
    for seed in ["70000", "70001"] {
        let args = ["--cluster", "--from", seed, "--seeds", "1", "--fault-seconds", "8", "--trace"];
        let (one, other) = (sim(&args), sim(&args));
        assert!(one.status.success(), "{:?}", text(&one.stdout).lines().rev().take(5).collect::<Vec<_>>());
        assert!(one.stdout.len() > 100_000, "a trace has thousands of lines");
        assert!(one.stdout == other.stdout, "two traces of one seed differ");
        traced.extend(summary(&one));
    }
    let untraced = sim(&["--cluster", "--from", "70000", "--seeds", "2", "--fault-seconds", "8", "--jobs", "2"]);
    assert_eq!((traced.len(), summary(&untraced)), (2, traced));
}

#[test]
fn a_failing_seed_is_named_with_the_command_that_runs_it_again() {
    let failing = sim(&["--from", "3", "--seeds", "1", "--fault-seconds", "3", "--plant", "forged-answer"]);
    let lines = text(&failing.stdout);
    assert_eq!(failing.status.code(), Some(1), "{lines}");
    assert!(lines.contains("1 seeds, 1 failed\nfailed: [3]\n"), "{lines}");
    assert!(lines.contains("--from 3 --seeds 1 --fault-seconds 3 --plant forged-answer --trace\n"), "{lines}");
}
