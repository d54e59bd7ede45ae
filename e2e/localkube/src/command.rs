//! Execution of external programs with a time limit; errors contain the command line and the output of the program.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::Path,
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command};

/// The time limit of a run, unless the caller sets another limit.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The reasons for the failure of a [`Run`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("cannot run {line}: {source}")]
    Start {
        /// The command line.
        line: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The program ran and reported failure.
    #[error("{line} failed ({status}): {output}")]
    Failed {
        /// The command line.
        line: String,
        /// The exit status.
        status: ExitStatus,
        /// The last 2,000 characters of standard error, or of standard output if standard error is empty.
        output: String,
    },
    /// The program exceeded its time limit and was killed.
    #[error("{line} did not end within {seconds} s and was killed")]
    TimedOut {
        /// The command line.
        line: String,
        /// The time limit in seconds.
        seconds: u64,
    },
}

/// Returns PATH extended by the directories of system tools, which the PATH of an ordinary user lacks.
#[must_use]
pub fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// A builder for a single execution of a program.
#[derive(Debug)]
pub struct Run {
    command: Command,
    timeout: Duration,
    stdin: Option<Vec<u8>>,
}

impl Run {
    /// Creates a run of `program`: a path, or a name to look up on PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        Self { command, timeout: DEFAULT_TIMEOUT, stdin: None }
    }

    /// Appends command line arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Sets the standard input of the program.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// Sets the time limit, replacing [`DEFAULT_TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the command line, separated by spaces, for messages.
    fn line(&self) -> String {
        let command = self.command.as_std();
        let mut line = command.get_program().to_string_lossy().into_owned();
        for arg in command.get_args() {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }

    /// Runs the program to completion and returns standard output.
    ///
    /// # Errors
    /// When the program cannot start, reports failure or exceeds its time.
    pub async fn output(self) -> Result<String, Error> {
        let line = self.line();
        let output = self.raw().await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Failed { line, status: output.status, output: last_words(&output) })
    }

    /// Runs the program to completion and returns its output and exit status, successful or not.
    ///
    /// # Errors
    /// When the program cannot start or exceeds its time.
    pub async fn raw(mut self) -> Result<Output, Error> {
        let line = self.line();
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        self.command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.command.spawn().map_err(|source| Error::Start { line: line.clone(), source })?;
        let input = child.stdin.take().zip(self.stdin.take());
        let feed = async {
            if let Some((mut pipe, bytes)) = input {
                // A program may close the pipe before reading all of its input. The exit status decides about success.
                let _ = pipe.write_all(&bytes).await;
            }
        };
        let both = async { tokio::join!(child.wait_with_output(), feed).0 };
        match tokio::time::timeout(self.timeout, both).await {
            Ok(output) => output.map_err(|source| Error::Start { line, source }),
            Err(_) => Err(Error::TimedOut { line, seconds: self.timeout.as_secs() }),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// Returns the end of the output of a failed program, short enough for an error message.
fn last_words(output: &Output) -> String {
    const CHARS_MAX: usize = 2_000;
    let stream = if output.stderr.trim_ascii().is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(stream);
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(CHARS_MAX);
    if text.is_empty() { "the program printed nothing".to_owned() } else { text.chars().skip(skip).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_names_the_command_and_its_last_words() {
        let error =
            Run::new("sh").args(["-c", "echo no such thing >&2; exit 3"]).output().await.unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains("no such thing") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let error = Run::new("no-such-program-here").output().await.unwrap_err();
        assert!(matches!(error, Error::Start { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_stuck_program_is_killed() {
        let run = Run::new("sleep").args(["600"]).timeout(Duration::from_millis(50));
        assert!(matches!(run.output().await.unwrap_err(), Error::TimedOut { .. }));
    }

    #[tokio::test]
    async fn input_larger_than_a_pipe_arrives_whole() {
        let input = vec![b'x'; 300_000];
        let counted = Run::new("wc").args(["-c"]).stdin(input).output().await.unwrap();
        assert_eq!(counted.trim(), "300000");
    }
}
