//! Description of a cluster with all choices resolved. Written to the state directory by `up`; read by the supervisor
//! and by every later command.

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

/// Name, size, addresses, programs and state directory of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Name of the cluster on this machine.
    pub name: InstanceName,
    /// Path of the state directory.
    pub state: PathBuf,
    /// The last node; the first is `node1`.
    pub nodes: NodeId,
    /// Volumes of unlimited size on each node.
    pub volumes_per_node: u8,
    /// The address ranges.
    pub network: Network,
    /// Locations of the programs.
    pub programs: Programs,
    /// Mount point directories created on the host by `up`; `down` removes them.
    pub made_directories: Vec<PathBuf>,
}

impl Instance {
    /// Returns all nodes in order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes.number()).filter_map(|number| NodeId::try_from(number).ok())
    }

    /// Returns whether the cluster has this node.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        node <= self.nodes
    }

    /// Returns the file layout of the state directory.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::new(&self.state)
    }

    /// Returns the URL of the API server, as reachable from the host.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("https://{}:{}", self.network.api(), Self::API_PORT)
    }

    /// Port of the API server.
    pub const API_PORT: u16 = 6443;
    /// Port at which CoreDNS reports readiness, after listing the objects of the API server.
    pub const DNS_READY_PORT: u16 = 8181;

    /// Loads the description from the directory `state`, or returns `None` if there is no cluster in the directory.
    pub(crate) fn load(state: &Path) -> Result<Option<Self>, Error> {
        let path = Layout::new(state).instance();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Io::new("read", &path, source).into()),
        };
        serde_json::from_str(&text).map(Some).map_err(|source| Error::StateFile { path, source })
    }

    /// Saves the description in the state directory.
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
