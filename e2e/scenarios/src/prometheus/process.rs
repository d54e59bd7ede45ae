//! The Prometheus process: keeps all files in a single directory and ends when the handle is dropped.

use super::{Access, Error, config::config, promtool};
use crate::http;
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use taffrail_localkube::{command::search_path, wait};
use tokio::process::{Child, Command};

/// Environment variable with the directory printed by `scripts/prometheus.sh`.
const PROGRAMS: &str = "TAFFRAIL_PROMETHEUS";
/// Time limit for loading the configuration and becoming ready.
const START_MAX: Duration = Duration::from_secs(30);
/// Number of log lines in an error message.
const LOG_LINES: usize = 8;

/// A running Prometheus. Dropping this value kills the process.
#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    address: String,
}

fn program(name: &str) -> Result<PathBuf, Error> {
    let path = Path::new(&env::var_os(PROGRAMS).unwrap_or_default()).join(name);
    if path.is_file() { Ok(path) } else { Err(Error::NotBuilt(path)) }
}

/// Extracts the listen address from the log.
fn address_in(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("msg=\"Listening on\"")?;
    // A line without newline may be incomplete.
    let (line, _) = rest.split_once('\n')?;
    let (_, address) = line.split_once(" address=")?;
    address.split_whitespace().next().map(str::to_owned)
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

impl Prometheus {
    /// Starts Prometheus on a free loopback port, with all files in `directory`, and waits for readiness.
    ///
    /// # Errors
    /// When Prometheus is not built, rejects its configuration, cannot be started, or is not ready in time.
    pub async fn start(access: &Access, directory: &Path) -> Result<Self, Error> {
        let [server, checker] = ["prometheus", "promtool"].map(program);
        let [file, log, data] = ["prometheus.yaml", "prometheus.log", "data"].map(|name| directory.join(name));
        fs::write(&file, config(access).to_string())
            .map_err(|source| Error::Io { what: "write the configuration of Prometheus", source })?;
        promtool::check_config(&checker?, &file).await?;
        let output = File::create(&log).map_err(|source| Error::Io { what: "create the log of Prometheus", source })?;
        let option = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
        let mut command = Command::new(server?);
        command.env("PATH", search_path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        command.args([option("config.file", &file), option("storage.tsdb.path", &data)]);
        command.arg("--web.listen-address=127.0.0.1:0");
        let process = command.spawn().map_err(|source| Error::Io { what: "start Prometheus", source })?;
        let mut this = Self { process, address: String::new() };
        let process = &mut this.process;
        this.address = wait::until("Prometheus to answer", START_MAX, || {
            let ended = process.try_wait();
            let log = fs::read_to_string(&log).unwrap_or_default();
            async move {
                if let Ok(Some(status)) = ended {
                    return Err(format!("Prometheus ended ({status}): {}", end_of(&log)));
                }
                let address = address_in(&log).ok_or_else(|| end_of(&log))?;
                http::get(&format!("http://{address}/-/ready")).await.map_err(|e| e.to_string())?;
                Ok(address)
            }
        })
        .await?;
        Ok(this)
    }

    /// Returns the listen address, such as `127.0.0.1:9090`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills the process and waits for its end.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn end(mut self) -> Result<(), Error> {
        self.process.kill().await.map_err(|source| Error::Io { what: "end Prometheus", source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_a_whole_line() {
        let line = "time=2026-01-02T03:04:05.678Z level=INFO source=tls_config.go:354 msg=\"Listening on\" component=web address=127.0.0.1:43789\n";
        assert_eq!(address_in(line).as_deref(), Some("127.0.0.1:43789"));
        assert_eq!(address_in(line.trim_end()), None, "a line that may be half written");
        let before = "msg=\"Start listening for connections\" component=web address=127.0.0.1:0\n";
        assert_eq!(address_in(before), None);
        assert_eq!(address_in(&(before.to_owned() + line)).as_deref(), Some("127.0.0.1:43789"));
    }
}
