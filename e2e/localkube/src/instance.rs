//! A cluster with every choice made: written to its state directory at `up`, read by the supervisor and by every later
//! command.

use crate::{
    config::Programs,
    error::{Error, Io},
    layout::Layout,
    names::{InstanceName, NodeId},
    network::Network,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One cluster: name, size, addresses, programs and place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Which cluster on this machine.
    pub name: InstanceName,
    /// Its directory.
    pub state: PathBuf,
    /// The last node; the first is `node1`.
    pub nodes: NodeId,
    /// How many volumes of unlimited size each node offers.
    pub volumes_per_node: u8,
    /// Its addresses.
    pub network: Network,
    /// What it runs.
    pub programs: Programs,
    /// Directories that had to be made on the host as places to mount on, and that go again with the cluster.
    pub made_directories: Vec<PathBuf>,
}

impl Instance {
    /// All nodes, in order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes.number()).filter_map(|number| NodeId::try_from(number).ok())
    }

    /// Whether the cluster has this node.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        node <= self.nodes
    }

    /// Where its files are.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::new(&self.state)
    }

    /// The API server's address for everyone on the host.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("https://{}:{}", self.network.api(), Self::API_PORT)
    }

    /// Where the API server listens.
    pub const API_PORT: u16 = 6443;
    /// Where CoreDNS tells whether it has seen the API server's objects.
    pub const DNS_READY_PORT: u16 = 8181;

    /// Reads what `up` wrote; `None` if there is no cluster in that directory.
    pub(crate) fn load(state: &Path) -> Result<Option<Self>, Error> {
        let path = Layout::new(state).instance();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Io::new("read", &path, source).into()),
        };
        serde_json::from_str(&text).map(Some).map_err(|source| Error::StateFile { path, source })
    }

    /// Writes it for the commands that follow.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let path = self.layout().instance();
        let text =
            serde_json::to_string_pretty(self).map_err(|source| Error::StateFile { path: path.clone(), source })?;
        fs::write(&path, text).map_err(|source| Io::new("write", &path, source).into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::network::Slot;

    pub(crate) fn sample(name: &str, slot: u8) -> Instance {
        Instance {
            name: name.parse().unwrap(),
            state: PathBuf::from("/state").join(name),
            nodes: NodeId::try_from(3).unwrap(),
            volumes_per_node: 2,
            network: Network::of_slot(Slot::try_from(slot).unwrap()),
            programs: Programs {
                kubernetes: PathBuf::from("/programs"),
                cni: PathBuf::from("/cni"),
                localkube: PathBuf::from("/programs/localkube"),
            },
            made_directories: Vec::new(),
        }
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Instance::load(directory.path()).unwrap().is_none());
        let instance = Instance { state: directory.path().to_owned(), ..sample("one", 4) };
        instance.save().unwrap();
        let read = Instance::load(directory.path()).unwrap().unwrap();
        assert_eq!(read.network, instance.network);
        assert_eq!(read.node_ids().map(|node| node.to_string()).collect::<Vec<_>>(), ["node1", "node2", "node3"]);
    }

    #[test]
    fn a_state_file_of_another_version_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("machine.json"), "{\"surprise\":1}").unwrap();
        let error = Instance::load(directory.path()).unwrap_err();
        assert!(error.to_string().contains("machine.json"), "{error}");
    }
}
