//! [`Tuning`]: times and bounds of consensus, and their translation into openraft's configuration.

use super::log::LogKey;
use openraft::{Config, SnapshotPolicy};
use std::{io, sync::Arc, time::Duration};

/// Times and bounds of consensus. All times are configurable, because a simulation stretches all times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Interval between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// Lower bound of the random election timeout.
    pub election_min: Duration,
    /// Upper bound of the random election timeout.
    pub election_max: Duration,
    /// Number of new entries before a flush of applied state and a purge of the log.
    pub purge_after_entries: u64,
    /// Number of entries kept in the log after a purge, for lagging followers.
    pub keep_entries: u64,
    /// Encoded size of new entries, in bytes, before a flush of applied state and a purge of the log, whatever the
    /// number of entries. Bounds the log on disk and the entries applied again by a restart.
    pub purge_after_bytes: u64,
    /// Encoded size, in bytes, of the entries kept in the log after a purge. Fewer than `keep_entries` entries remain
    /// if the entries are larger.
    pub keep_bytes: u64,
    /// Maximum number of entries of a request from a leader to a follower. The request has a limit in bytes as well.
    pub append_entries: u64,
    /// Bytes per second sent by the node to replicas catching up, all transfers together.
    pub catch_up_bytes_per_second: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(900),
            purge_after_entries: 20_000,
            keep_entries: 5_000,
            // Both default numbers of entries at 13 KiB per entry. Smaller entries are purged by number.
            purge_after_bytes: 256 << 20,
            keep_bytes: 64 << 20,
            append_entries: 4096,
            catch_up_bytes_per_second: 64 << 20,
        }
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Builds openraft's configuration of a group. Leader restore must be off: with leader restore, a restarted leader of
/// the same term may give the same log ids to other entries.
pub(super) fn config(tuning: &Tuning, key: LogKey) -> io::Result<Arc<Config>> {
    let config = Config {
        cluster_name: format!("group-{}", key.group),
        heartbeat_interval: millis(tuning.heartbeat),
        election_timeout_min: millis(tuning.election_min),
        election_timeout_max: millis(tuning.election_max),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        // The group orders every purge itself, by entries and by bytes.
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: tuning.append_entries,
        api_channel_size: Some(4096),
        ..Config::default()
    }
    .validate()
    .map_err(io::Error::other)?;
    assert_eq!(config.enable_leader_restore, Some(false), "leader restore breaks log safety");
    Ok(Arc::new(config))
}
