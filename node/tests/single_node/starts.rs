//! Refused starts: a specific exit code, one line with place, rule and remedy, no panic, and no change on disk.

use super::node::{Node, Refused, clean, taffrail};
use crate::common::{PORT_TAKEN, Ports};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use taffrail_proto::admin::{JoinRequest, StatusRequest, admin_client::AdminClient};
use tempfile::TempDir;
use tokio::process::Command;

const CONFIG: i32 = 64;
const DATA_DIR: i32 = 65;

/// The flags of a single node on claimed ports.
fn single(data: &Path) -> Vec<String> {
    let mut args = vec!["--single".to_owned(), "--data-dir".to_owned(), data.display().to_string()];
    args.extend(Ports::free(1)[0].flags());
    args
}

async fn refused(data: &Path, words: &[&str]) {
    Refused::serve(single(data)).await.says(DATA_DIR, words);
}

/// Every file below a directory, with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    refused(&file, &["data directory", "file", "is not a directory", "give the path"]).await;
    refused(&file.join("data"), &["data directory", "file/data", "check the volume and its mount"]).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

#[tokio::test]
async fn a_strangers_directory_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("lost+found")).unwrap();
    fs::write(data.join("notes.txt"), "mine").unwrap();
    let before = files(&data);
    refused(&data, &["data directory", "no taffrail marker", "give an empty directory"]).await;
    assert_eq!(files(&data), before);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 2, "a file was created beside the files of the other program");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_a_damaged_and_a_lost_marker_are_refused_and_left_as_they_are() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    Node::start(&data).await.kill().await;
    let marker = data.join("taffrail.json");
    let good = fs::read_to_string(&marker).unwrap();
    let mut newer: serde_json::Value = serde_json::from_str(&good).unwrap();
    newer["format"] = 99.into();
    let mut other: serde_json::Value = serde_json::from_str(&good).unwrap();
    other["marker"]["node_id"] = 7.into();
    let cases = [
        (newer.to_string(), ["taffrail.json", "format 99", "start the version that wrote the marker"]),
        (other.to_string(), ["taffrail.json", "checksum", "must be replaced"]),
        (good[..good.len() / 2].to_owned(), ["taffrail.json", "damaged", "must be replaced"]),
    ];
    for (bad, words) in cases {
        fs::write(&marker, &bad).unwrap();
        let before = files(&data);
        refused(&data, &words).await;
        assert_eq!(files(&data), before, "a refused directory was changed");
    }
    fs::remove_file(&marker).unwrap();
    refused(&data, &["taffrail.json", "missing beside state/", "must be replaced"]).await;
    fs::write(&marker, good).unwrap();
    Node::start(&data).await.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_directory_is_refused_and_the_first_goes_on() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = Node::start(&data).await;
    let before = fs::read(data.join("taffrail.json")).unwrap();
    refused(&data, &["data directory", "another process uses it", "two nodes cannot share"]).await;
    assert_eq!(fs::read(data.join("taffrail.json")).unwrap(), before);
    node.alive();
    node.serves("default").await;
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_one_cluster_does_not_join_another() {
    let dir = TempDir::new().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let mut admin = AdminClient::connect(format!("http://127.0.0.1:{}", node.ports.admin)).await.unwrap();
    let is = admin.status(StatusRequest::default()).await.unwrap().into_inner();
    let other = "0198f3c2-7d54-7cc2-9b0e-2f6f0f2f9a10".to_owned();
    let wanted = JoinRequest { cluster_id: other, disk_id: is.disk_id.clone() };
    let refused = admin.join(wanted).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains(&is.cluster_id), "{refused:?}");
    let after = admin.status(StatusRequest::default()).await.unwrap().into_inner();
    assert_eq!((after.cluster_id, after.disk_id, after.node_id), (is.cluster_id, is.disk_id, is.node_id));
    node.alive();
    node.kill().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let dir = TempDir::new().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    for name in ["clients", "peers", "admin", "http"] {
        let mut args = single(&dir.path().join("data"));
        let flag = args.iter().position(|arg| *arg == format!("--listen-{name}")).unwrap();
        args[flag + 1].clone_from(&address);
        let key = format!("listen.{name}");
        Refused::serve(args).await.says(PORT_TAKEN, &[&key, &address, "another process"]);
    }
}

#[tokio::test]
async fn a_bad_configuration_is_refused_before_anything_is_opened() {
    let dir = TempDir::new().unwrap();
    let (file, data) = (dir.path().join("node.toml"), dir.path().join("data"));
    let path = file.display().to_string();
    let head = format!("[node]\ndata_dir = {:?}\ncluster = \"main\"\n[discovery]\nkind = \"single\"\n", data.display());
    let cases: [(&[u8], &[&str]); 11] = [
        (b"[listen]\nclientz = \"127.0.0.1:1\"\n", &["listen.clientz", "no such key", "did you mean listen.clients"]),
        (b"[nonsense]\nkey = 1\n", &["nonsense.key", "no such key", "docs/CONFIG.md"]),
        (b"[raft]\nheartbeat_ms = \"150\"\n", &["raft.heartbeat_ms", "must be an integer, is the string \"150\""]),
        (b"[raft]\nheartbeat_ms = 1.5\n", &["raft.heartbeat_ms", "must be an integer, is the float 1.5"]),
        (b"[raft]\nheartbeat_ms = 0\n", &["raft.heartbeat_ms", "must be 10 to 10000, is 0"]),
        (b"[listen]\nclients = 2113\n", &["listen.clients", "must be a string, is the integer 2113"]),
        (b"[listen]\nclients = \"here\"\n", &["listen.clients", "must be IP:PORT", "here"]),
        (b"[listen\n", &["--config", "is not valid TOML: line 6"]),
        (b"[log]\nlevel = \"loud\"\n", &["log.level", "must be off, error, warn, info, debug or trace", "loud"]),
        (b"[log]\nfilter = \"h2=loud\"\n", &["log.filter", "h2=loud", "is no directive"]),
        (b"[log]\nlevel = \"\xff\"\n", &["--config", "UTF-8", "must be a readable file in TOML"]),
    ];
    for (body, words) in cases {
        fs::write(&file, [head.as_bytes(), body].concat()).unwrap();
        let words: Vec<&str> = words.iter().copied().chain([path.as_str()]).collect();
        Refused::serve([OsStr::new("--config"), file.as_os_str()]).await.says(CONFIG, &words);
        assert!(!data.exists(), "the directory was created before the configuration was checked");
    }
    let nowhere = dir.path().join("nowhere.toml");
    Refused::serve([OsStr::new("--config"), nowhere.as_os_str()]).await.says(CONFIG, &["--config", "nowhere.toml"]);
}

#[tokio::test]
async fn a_bad_environment_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let cases: [(&str, &[u8], &[&str]); 4] = [
        ("TAFFRAIL_RAFT_HEARTBEET_MS", b"150", &["raft.heartbeet_ms", "no such key", "did you mean raft.heartbeat_ms"]),
        ("TAFFRAIL_RAFT_HEARTBEAT_MS", b"soon", &["raft.heartbeat_ms", "must be an integer"]),
        ("TAFFRAIL_NODE_NAME", b"a\xffb", &["node.name", "TAFFRAIL_NODE_NAME", "must be UTF-8"]),
        ("POD_NAME", b"\xff", &["POD_NAME", "must be UTF-8"]),
    ];
    for (name, value, words) in cases {
        let mut command = taffrail();
        command.arg("serve").args(single(&data)).env(name, OsStr::from_bytes(value));
        Refused::of(command).await.says(CONFIG, words);
        assert!(!data.exists());
    }
    let mut command = taffrail();
    command.args(["serve", "--single", "--data-dir"]).arg(OsStr::from_bytes(b"/tmp/\xff/data"));
    Refused::of(command).await.says(CONFIG, &["node.data_dir", "--data-dir", "must be UTF-8"]);
}

/// Variables of other programs may hold any bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_variable_that_is_no_text_does_not_matter() {
    let mut command = taffrail();
    let args = ["serve", "--single", "--check", "--data-dir", "/nowhere"];
    command.args(args).env("SOMEBODY", OsStr::from_bytes(b"\xff")).env(OsStr::from_bytes(b"\xfe"), "x");
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Makes `/dev/termination-log` a file of the test and `$1/data` a directory that cannot be written, for one process.
const CONTAINER: &str = r#"
set -e
dir=$1; shift
mkdir -p "$dir/dev" "$dir/data"
for device in null zero random urandom; do : >"$dir/dev/$device"; mount --bind "/dev/$device" "$dir/dev/$device"; done
: >"$dir/dev/termination-log"
mount --bind "$dir/data" "$dir/data"
mount -o remount,bind,ro "$dir/data"
mount --rbind "$dir/dev" /dev
exec "$@"
"#;

/// Starts a node in a separate mount namespace, as in a container; `None` where this user may not create mount namespaces.
async fn contained(dir: &Path, args: &[String]) -> Option<(Refused, String)> {
    let unshare = || {
        let mut command = clean(Command::new("unshare"));
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
    };
    if !unshare().arg("true").status().await.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not make mounts of its own");
        return None;
    }
    let mut command = unshare();
    command.args(["sh", "-c", CONTAINER, "sh"]).arg(dir).args([env!("CARGO_BIN_EXE_taffrail"), "serve"]).args(args);
    let refused = Refused::of(command).await;
    Some((refused, fs::read_to_string(dir.join("dev/termination-log")).unwrap()))
}

#[tokio::test]
async fn the_last_words_are_one_line_in_the_termination_log() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let words = ["data directory", "data", "Read-only file system", "write access (in Kubernetes: fsGroup)"];
    let Some((refused, log)) = contained(dir.path(), &single(&data)).await else { return };
    refused.says(DATA_DIR, &words);
    assert_eq!(log.lines().count(), 1, "{log:?}");
    assert!(words.iter().all(|word| log.contains(word)), "{log}");

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("node.toml");
    fs::write(&file, "[listen]\nclientz = 1\n[raft]\nheartbeat_ms = 0\n").unwrap();
    let args = ["--config".to_owned(), file.display().to_string()];
    let Some((refused, log)) = contained(dir.path(), &args).await else { return };
    refused.says(CONFIG, &["listen.clientz"]).says(CONFIG, &["raft.heartbeat_ms"]).says(CONFIG, &["node.data_dir"]);
    assert_eq!(log.lines().count(), 1, "{log:?}");
    assert!(["listen.clientz", "raft.heartbeat_ms", "node.data_dir"].iter().all(|key| log.contains(key)), "{log}");
}
