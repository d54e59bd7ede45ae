//! [`Config::load`]: collects the values of all sources as strings, then parses and checks all values together.

use super::{
    Config,
    args::ServeArgs,
    check::check,
    env::{is_setting, key_of},
    values::Values,
};
use std::ffi::OsString;

pub use super::values::Problem;

impl Config {
    /// Builds the configuration from defaults, file, environment and flags; later sources override earlier sources.
    ///
    /// # Errors
    /// All problems found. No port and no file except the file of `--config` was opened.
    pub fn load(args: &ServeArgs, env: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, Vec<Problem>> {
        let mut v = Values::default();
        let env = v.environment(env);
        if args.single {
            preset_single(&mut v);
        }
        if let Some(path) = &args.config {
            v.file(path);
        }
        for (name, value) in env.iter().filter(|(name, _)| is_setting(name)) {
            v.set(&key_of(name), value.clone(), name);
        }
        if args.data_dir.as_ref().is_some_and(|path| path.to_str().is_none()) {
            v.problem("node.data_dir", "--data-dir", "must be UTF-8");
        }
        let flags = [
            ("node.data_dir", args.data_dir.as_ref().map(|p| p.display().to_string()), "--data-dir"),
            ("listen.clients", args.listen_clients.clone(), "--listen-clients"),
            ("listen.peers", args.listen_peers.clone(), "--listen-peers"),
            ("listen.admin", args.listen_admin.clone(), "--listen-admin"),
            ("listen.http", args.listen_http.clone(), "--listen-http"),
        ];
        for (name, value, origin) in flags {
            if let Some(value) = value {
                v.set(name, value, origin);
            }
        }
        let config = check(&mut v, &env);
        if v.problems.is_empty() { Ok(config) } else { Err(v.problems) }
    }
}

/// Sets the values of `--single`. File, environment and other flags override these values.
fn preset_single(v: &mut Values) {
    for (name, value) in [
        ("node.cluster", "single"),
        ("discovery.kind", "single"),
        ("gateway.default_store", "default"),
        ("listen.clients", "127.0.0.1:2113"),
        ("listen.peers", "127.0.0.1:2114"),
        ("listen.admin", "127.0.0.1:2115"),
        ("listen.http", "127.0.0.1:9090"),
        ("shutdown.drain_delay_ms", "0"),
        ("log.format", "text"),
    ] {
        v.set(name, value.to_owned(), "--single");
    }
}
