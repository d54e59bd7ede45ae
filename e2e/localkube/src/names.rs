//! Names of clusters and nodes.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of a cluster on this machine. Part of the names of its interface, cgroup and directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName(String);

/// The string is not a valid [`InstanceName`].
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "'{0}' is not a cluster name: use 1 to {max} characters of a-z, 0-9 and '-', with a letter first and no '-' last",
    max = InstanceName::LENGTH_MAX
)]
pub struct InvalidName(String);

impl InstanceName {
    /// Maximum length in bytes. Interface names have at most 15 characters; the prefix takes three.
    pub const LENGTH_MAX: usize = 12;

    /// Returns the name as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the network interface on the host.
    #[must_use]
    pub fn interface(&self) -> String {
        format!("tf-{}", self.0)
    }

    /// Returns the name of the cgroup of all cluster processes, relative to the root of each hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("taffrail-{}", self.0)
    }
}

impl TryFrom<String> for InstanceName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = text.len() <= Self::LENGTH_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(allowed);
        if good { Ok(Self(text)) } else { Err(InvalidName(text)) }
    }
}

impl FromStr for InstanceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node of a cluster: `node1`, `node2`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(u8);

/// The string or number is not a valid [`NodeId`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("'{0}' is not a node: nodes are node1 to node{max}", max = NodeId::MAX)]
pub struct InvalidNode(String);

impl NodeId {
    /// Maximum node number, bounded by the size of the link range.
    pub const MAX: u8 = 9;

    /// Returns node `number`. In a constant, an invalid number fails to compile.
    pub(crate) const fn of(number: u8) -> Self {
        assert!(1 <= number && number <= Self::MAX, "nodes are node1 to node9");
        Self(number)
    }

    /// Returns the number in the name; the first node has number 1.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for NodeId {
    type Error = InvalidNode;

    fn try_from(number: u8) -> Result<Self, InvalidNode> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(InvalidNode(number.to_string())) }
    }
}

impl TryFrom<String> for NodeId {
    type Error = InvalidNode;

    fn try_from(text: String) -> Result<Self, InvalidNode> {
        text.parse()
    }
}

impl FromStr for NodeId {
    type Err = InvalidNode;

    fn from_str(text: &str) -> Result<Self, InvalidNode> {
        let number = text.strip_prefix("node").and_then(|digits| digits.parse::<u8>().ok());
        number.and_then(|number| Self::try_from(number).ok()).ok_or_else(|| InvalidNode(text.to_owned()))
    }
}

impl From<NodeId> for String {
    fn from(node: NodeId) -> Self {
        node.to_string()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_fit_an_interface_are_refused() {
        for good in ["main", "a", "ci-2", "abcdefghijkl"] {
            let name: InstanceName = good.parse().unwrap();
            assert!(name.interface().len() <= 15);
        }
        for bad in ["", "abcdefghijklm", "Main", "2nd", "a_b", "-a", "a-", "a/b", ".."] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_are_read_by_name() {
        assert_eq!("node3".parse::<NodeId>().unwrap().number(), 3);
        for bad in ["node0", "node10", "3", "node", "Node1"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
    }
}
