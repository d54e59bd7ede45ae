//! The results page of a run: `e2e/benches/RESULTS.md`.

use super::harness::{Pace, Row};
use anyhow::{Context, Result};
use std::{fmt::Write, fs, path::Path, process::Command};

const HEAD: &str = "\
# What the hot paths cost

Written by `make bench`. Every path is measured in turns with a minimal baseline, the reference, in the same run on the
same machine. The ratio shows the cost of Taffrail's own work; the rates depend mostly on the machine. Rates are medians
over the rounds, in units per second; the spread is the lowest and the highest ratio of a round.

";

const COLUMNS: &str = "\
| path | ours, a second (each) | p50 / p99 of a call, ms | reference, a second (each) | ours / reference | spread |
|---|---|---|---|---|---|
";

const FOOT: &str = "
- Events have 256 bytes, half of them random. The files are on the disk that the checkout was built on.
- *apply*: the rules alone, with streams in memory and rows dropped; the reference encodes the same commands for the log.
- *log*: each group waits for its entry before it appends the next. Both references put an entry of every group into each
  write and sync; the log's writer can only approach this ideal.
- *state machine*: a log entry decoded, decided and written, without a flush on either side; the rows of the reference
  are compared with ours before anything is measured.
- *read ... in pages*: pages of 256 events from the block cache, each from its own database view.
- *over gRPC*: one process of `taffrail serve --single` in the same profile; its clients share the machine with it. An append
  has one event and is acknowledged after its sync, so with one writer the reference is the limit. With several writers,
  appends share a sync and may exceed the reference.
";

/// Formats a rate with three significant digits.
fn rate(rate: f64) -> String {
    match rate {
        r if r >= 999_500.0 => format!("{:.2} M", r / 1e6),
        r if r >= 9_995.0 => format!("{:.0} k", r / 1e3),
        r if r >= 999.5 => format!("{:.1} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

/// Formats the time for a single unit.
fn each(rate: f64) -> String {
    let ns = 1e9 / rate;
    if ns < 10_000.0 { format!("{ns:.0} ns") } else { format!("{:.0} µs", ns / 1e3) }
}

/// Formats microseconds as milliseconds, rounded to hundredths.
fn milliseconds(us: u64) -> String {
    let hundredths = (us + 5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Formats a row of the table.
pub fn line(row: &Row) -> String {
    let calls = row
        .calls
        .map_or_else(String::new, |(median, high)| format!("{} / {}", milliseconds(median), milliseconds(high)));
    let [low, median, high] = row.ratio;
    format!(
        "| {} | {} {} ({}) | {calls} | {}: {} ({}) | {median:.2} | {low:.2} to {high:.2} |",
        row.path,
        rate(row.ours),
        row.unit,
        each(row.ours),
        row.reference,
        rate(row.theirs),
        each(row.theirs),
    )
}

/// Reads a file of the kernel; returns an empty string if the file is unreadable.
fn kernel_says(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |n| n.to_string());
    let memory = kernel_says("/proc/meminfo");
    let kib = memory.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let memory = kib.map_or_else(|| "?".to_owned(), |kib| (kib >> 20).to_string());
    let kernel = kernel_says("/proc/sys/kernel/osrelease");
    // Vendors append their own names to the version.
    let kernel = kernel.trim().split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or("?").to_owned();
    format!("{cores} cores, {memory} GiB of memory, Linux {kernel}")
}

/// Returns the commit, marked as dirty if files differ.
fn commit(root: &Path) -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).current_dir(root).output();
    let said = git.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    said.unwrap_or_else(|| "unknown".to_owned())
}

/// Writes the results page.
#[expect(clippy::disallowed_methods, reason = "the date of the page is that of the machine")]
pub fn write(rows: &[Row], pace: Pace) -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut page = HEAD.to_owned();
    writeln!(
        page,
        "{} · commit {} · {} · {} rounds of {} s for each side\n",
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        commit(here),
        machine(),
        pace.rounds,
        pace.time.as_secs_f64()
    )?;
    page.push_str(COLUMNS);
    for row in rows {
        writeln!(page, "{}", line(row))?;
    }
    page.push_str(FOOT);
    let path = here.join("RESULTS.md");
    fs::write(&path, page).with_context(|| path.display().to_string())
}
