use super::{
    Config, Discovery,
    args::ServeArgs,
    key::{DefaultValue, Min, Type},
    keys::{self, KEYS},
    load::Problem,
};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};
use taffrail_core::limits;
use tracing::level_filters::LevelFilter;

fn load(file: &str, env: &[(&str, &str)], args: ServeArgs) -> Result<Config, Vec<Problem>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect::<Vec<_>>();
    Config::load(&ServeArgs { config: Some(path), ..args }, env.into_iter())
}

const GOOD: &str = "[node]\ndata_dir = \"/d\"\ncluster = \"main\"\n[discovery]\nservice = \"main-peers\"\n";

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let env = [("TAFFRAIL_LISTEN_CLIENTS", "0.0.0.0:1"), ("TAFFRAIL_NODE_DATA_DIR", "/e"), ("POD_IP", "10.0.0.9")];
    let args = ServeArgs { listen_clients: Some("0.0.0.0:2".into()), ..ServeArgs::default() };
    let config = load(GOOD, &env, args).unwrap();
    assert_eq!(config.listen_clients.port(), 2);
    assert_eq!(config.data_dir, PathBuf::from("/e"));
    assert_eq!(config.cluster, "main");
    assert_eq!(config.listen_admin.port(), 2115);
    assert_eq!(config.advertise, "10.0.0.9:2114");
    assert_eq!(config.client_address().as_deref(), Some("10.0.0.9:2"));
    let chosen = Config { listen_clients: SocketAddr::from(([0, 0, 0, 0], 0)), ..config };
    assert_eq!(chosen.client_address(), None, "the system chooses the port");
}

#[test]
fn every_problem_is_reported_at_once_with_key_and_origin() {
    let file = "[node]\ncluster = \"main\"\n[listen]\nclients = \"here\"\nclientz = 1\n[limits]\nevent_bytes_max = 0\n";
    let problems = load(file, &[("TAFFRAIL_RAFT_HEARTBEAT", "1")], ServeArgs::default()).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
    for key in [
        "node.data_dir",
        "listen.clients",
        "listen.clientz",
        "limits.event_bytes_max",
        "raft.heartbeat",
        "discovery.service",
    ] {
        assert!(keys.contains(&key), "{key} missing in {keys:?}");
    }
    assert!(problems.iter().any(|p| p.key == "raft.heartbeat" && p.origin == "TAFFRAIL_RAFT_HEARTBEAT"));
}

#[test]
fn a_file_that_is_not_toml_is_one_problem_that_names_the_line() {
    let problems = load("[node]\ncluster = \"main\"\ndata_dir = /d\n", &[], ServeArgs::default()).unwrap_err();
    let first = problems[0].to_string();
    assert!(first.contains("line 3") && !first.contains('\n'), "{first}");
}

#[test]
fn our_variables_must_be_utf8_and_others_may_be_anything() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || OsString::from_vec(vec![b'x', 0xff]);
    let args = ServeArgs { single: true, data_dir: Some("/d".into()), ..ServeArgs::default() };
    assert!(Config::load(&args, [("LANG".into(), odd()), (odd(), "x".into())].into_iter()).is_ok());
    let problems = Config::load(&args, [("TAFFRAIL_NODE_NAME".into(), odd())].into_iter()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].key.as_str(), problems[0].origin.as_str()), ("node.name", "TAFFRAIL_NODE_NAME"));
    let args = ServeArgs { data_dir: Some(odd().into()), ..args };
    assert!(Config::load(&args, std::iter::empty()).is_err());
}

/// Parses the golden files of the operator's rendering tests.
#[test]
fn the_config_map_that_the_operator_renders_is_accepted() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/tests/golden");
    for (name, default_store, grace) in [("minimal.yaml", None, 110), ("full.yaml", Some("orders"), 80)] {
        let text = std::fs::read_to_string(golden.join(name)).unwrap();
        let block = text.lines().skip_while(|l| l.trim() != "node.toml: |").skip(1);
        let block = block.take_while(|l| l.is_empty() || l.starts_with("    "));
        let file: String = block.map(|l| format!("{}\n", l.trim_start())).collect();
        assert!(file.contains("[discovery]"), "{name} has no node.toml: {file}");
        let pod = [("POD_NAME", "main-0"), ("POD_NAMESPACE", "default"), ("POD_IP", "10.0.0.7"), ("POD_UID", "u")];
        let config = load(&file, &pod, ServeArgs::default()).unwrap_or_else(|p| panic!("{name}: {p:?}"));
        assert_eq!((config.cluster.as_str(), config.namespace.as_str()), ("main", "default"));
        assert_eq!(config.discovery, Discovery::Kubernetes { service: "main-peers".into() });
        assert_eq!(config.data_dir, std::path::Path::new("/var/lib/taffrail/data"));
        let ports = [config.listen_clients, config.listen_peers, config.listen_admin, config.listen_http];
        assert_eq!(ports.map(|a| a.port()), [2113, 2114, 2115, 9090]);
        assert_eq!(config.default_store.as_deref(), default_store);
        assert_eq!(config.grace, Duration::from_secs(grace));
    }
}

#[test]
fn addresses_of_peers_are_checked() {
    let file = "[node]\ndata_dir = \"/d\"\ncluster = \"main\"\n[peer]\nadvertise = \"no-port\"\n\
                [discovery]\nkind = \"static\"\npeers = [\"ok:1\", \"[::1]:2\", \"bad\", \"h:0\"]\n";
    let problems = load(file, &[], ServeArgs::default()).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys.iter().filter(|k| **k == "discovery.peers").count(), 2, "{problems:?}");
    assert_eq!(keys.iter().filter(|k| **k == "peer.advertise").count(), 1, "{problems:?}");
}

#[test]
fn sizes_are_bounded_by_the_limits_that_the_schema_of_cluster_has_too() {
    let (event, batch) = (limits::EVENT_BYTES_MAX, limits::BATCH_BYTES_MAX);
    let sized = |event: usize, batch: usize| {
        let file = format!("{GOOD}[limits]\nevent_bytes_max = {event}\nbatch_bytes_max = {batch}\n");
        load(&file, &[], ServeArgs::default()).map_err(|p| p.into_iter().map(|p| p.key).collect::<Vec<_>>())
    };
    let largest = sized(event, batch).unwrap();
    assert_eq!((largest.event_bytes_max, largest.batch_bytes_max), (event, batch));
    assert_eq!(load(GOOD, &[], ServeArgs::default()).unwrap().event_bytes_max, limits::EVENT_BYTES_DEFAULT);
    assert_eq!(sized(event + 1, batch).unwrap_err(), ["limits.event_bytes_max"]);
    assert_eq!(sized(event, batch + 1).unwrap_err(), ["limits.batch_bytes_max"]);
}

/// Both bounds and the default of each integer are accepted; the next numbers beyond the bounds are not.
#[test]
fn the_bounds_in_the_table_of_keys_are_those_that_are_checked() {
    for key in KEYS {
        let Type::Integer(bounds) = key.of else { continue };
        let env = format!("TAFFRAIL_{}", key.name.replace('.', "_").to_uppercase());
        let DefaultValue::Value(default) = key.default else { panic!("{} has no default", key.name) };
        // The key that a bound refers to has its default.
        let other = |name| keys::find(name).unwrap().default_value().parse::<u64>().unwrap();
        let min = match bounds.min {
            Min::Fixed(min) => min,
            Min::Times(n, name) => n * other(name),
            Min::Above(name) => other(name) + 1,
        };
        let refused = |value: i128| {
            // Keys whose bounds refer to this key may be refused too.
            let problems = load(GOOD, &[(&env, &value.to_string())], ServeArgs::default()).err().unwrap_or_default();
            problems.into_iter().find(|p| p.key == key.name)
        };
        for good in [i128::from(min), default.parse().unwrap(), i128::from(bounds.max)] {
            assert_eq!(refused(good), None, "{} = {good}", key.name);
        }
        for bad in [i128::from(min) - 1, i128::from(bounds.max) + 1] {
            let problem = refused(bad).unwrap_or_else(|| panic!("{} = {bad} is accepted", key.name));
            assert_eq!(problem.origin, env);
            assert_eq!(problem.rule, format!("must be {min} to {}, is {bad}", bounds.max));
        }
    }
}

#[test]
fn each_choice_in_the_table_of_keys_is_accepted() {
    for key in KEYS {
        let Type::Choice(choices) = key.of else { continue };
        let env = format!("TAFFRAIL_{}", key.name.replace('.', "_").to_uppercase());
        for choice in choices {
            let problems = load(GOOD, &[(&env, choice)], ServeArgs::default()).err().unwrap_or_default();
            assert!(!problems.iter().any(|p| p.key == key.name), "{} = {choice}: {problems:?}", key.name);
        }
    }
}

#[test]
fn service_links_are_not_settings() {
    let env = [("TAFFRAIL_SERVICE_HOST", "1"), ("TAFFRAIL_PORT_8080_TCP", "x"), ("TAFFRAIL_ENDPOINT", "y")];
    assert!(load(GOOD, &env, ServeArgs::default()).is_ok());
}

#[test]
fn single_needs_nothing_but_a_directory() {
    let args = ServeArgs { single: true, data_dir: Some("/d".into()), ..ServeArgs::default() };
    let config = Config::load(&args, std::iter::empty()).unwrap();
    assert_eq!(config.discovery, Discovery::Single);
    assert_eq!(config.default_store.as_deref(), Some("default"));
    assert!(config.listen_clients.ip().is_loopback());
}

#[test]
fn log_level_and_log_filter_are_checked() {
    let config = load(GOOD, &[], ServeArgs::default()).unwrap();
    assert_eq!((config.log_level, config.log_filter.as_str()), (LevelFilter::INFO, ""));
    let lines = format!("{GOOD}[log]\nlevel = \"off\"\nfilter = \"openraft=debug, taffrail_raft=trace\"\n");
    let config = load(&lines, &[], ServeArgs::default()).unwrap();
    assert_eq!(config.log_level, LevelFilter::OFF);
    for (name, value, key, words) in [
        ("TAFFRAIL_LOG_LEVEL", "loud", "log.level", "must be off, error, warn, info, debug or trace, is \"loud\""),
        ("TAFFRAIL_LOG_LEVEL", "info,openraft=debug", "log.level", "directives go into log.filter"),
        ("TAFFRAIL_LOG_LEVEL", "3", "log.level", "must be off"),
        ("TAFFRAIL_LOG_FILTER", "openraft=info,h2=loud", "log.filter", "\"h2=loud\" is no directive"),
        ("TAFFRAIL_LOG_FILTER", "[span", "log.filter", "\"[span\" is no directive"),
    ] {
        let problems = load(GOOD, &[(name, value)], ServeArgs::default()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].key.as_str(), problems[0].origin.as_str()), (key, name));
        assert!(problems[0].rule.contains(words), "{problems:?}");
    }
}

#[test]
fn a_required_key_of_another_type_is_one_problem() {
    let problems = load("[node]\ndata_dir = 5\ncluster = \"main\"\n", &[], ServeArgs::default()).unwrap_err();
    let of_it: Vec<String> = problems.iter().filter(|p| p.key == "node.data_dir").map(|p| p.rule.clone()).collect();
    assert_eq!(of_it, ["must be a string, is the integer 5"]);
}

#[test]
fn an_integer_out_of_its_bounds_is_reported_whatever_its_sign() {
    for (value, says) in [("-5", "must be 10 to 10000, is -5"), ("10001", "is 10001"), ("1e3", "an integer")] {
        let problems = load(GOOD, &[("TAFFRAIL_RAFT_HEARTBEAT_MS", value)], ServeArgs::default()).unwrap_err();
        assert!(problems.iter().any(|p| p.key == "raft.heartbeat_ms" && p.rule.contains(says)), "{problems:?}");
    }
}

#[test]
fn the_memory_is_shared_out() {
    let state = |mib: &str| {
        let config = load(GOOD, &[("TAFFRAIL_LIMITS_MEMORY_MIB", mib)], ServeArgs::default());
        config.map(|c| c.state_memory_bytes >> 20).map_err(|p| p.into_iter().map(|p| p.key).collect::<Vec<_>>())
    };
    let config = load(GOOD, &[], ServeArgs::default()).unwrap();
    let mib = |config: &Config| {
        [config.state_memory_bytes, config.request_bytes_max, config.answer_bytes_max].map(|bytes| bytes >> 20)
    };
    assert_eq!(mib(&config), [384, 120, 120]);
    let small = load(GOOD, &[("TAFFRAIL_LIMITS_MEMORY_MIB", "64")], ServeArgs::default()).unwrap();
    assert_eq!(mib(&small), [25, 32, 8], "the largest append still fits");
    assert_eq!((state("64"), state("8192")), (Ok(25), Ok(3276)));
    for bad in ["63", "1048577", "1Gi"] {
        assert_eq!(state(bad), Err(vec!["limits.memory_mib".to_owned()]), "{bad}");
    }
}

#[test]
fn the_soft_mark_of_the_disk_is_above_the_hard_mark() {
    let marks = |soft, hard| {
        let env = [("TAFFRAIL_DISK_SOFT_FREE_MIB", soft), ("TAFFRAIL_DISK_HARD_FREE_MIB", hard)];
        load(GOOD, &env, ServeArgs::default()).map(|c| (c.disk_marks.soft_bytes, c.disk_marks.hard_bytes))
    };
    assert_eq!(marks("0", "0"), Ok((None, None)));
    assert_eq!(marks("0", "3"), Ok((None, Some(3 << 20))));
    assert_eq!(marks("4", "3"), Ok((Some(4 << 20), Some(3 << 20))));
    let problems = marks("3", "3").unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "disk.soft_free_mib");
    assert_eq!(problems[0].origin, "TAFFRAIL_DISK_SOFT_FREE_MIB");
    assert_eq!(problems[0].rule, "must be more than disk.hard_free_mib, 3, is 3");
}
