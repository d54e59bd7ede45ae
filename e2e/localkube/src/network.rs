//! Address ranges of a cluster.
//!
//! A cluster has three ranges: the link (host, API server, nodes), the pods (a /24 for each node) and the Services. The
//! ranges are derived from a slot number, which is distinct for each cluster on the host, or given explicitly.

use crate::names::NodeId;
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr, str::FromStr};

/// The reasons for rejecting address ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The string does not have the form `10.1.0.0/16`.
    #[error("'{0}' is not an IPv4 range such as 10.1.0.0/16")]
    Syntax(String),
    /// Bits are set behind the prefix.
    #[error("{0} has address bits set behind its prefix")]
    HostBits(String),
    /// The range has fewer addresses than its purpose needs.
    #[error("{what} range {range} is too small: a prefix of /{prefix_max} or shorter is needed")]
    TooSmall {
        /// Purpose of the range.
        what: &'static str,
        /// The rejected range.
        range: Ipv4Range,
        /// The longest acceptable prefix.
        prefix_max: u8,
    },
    /// Two ranges of a cluster overlap.
    #[error("ranges {0} and {1} overlap")]
    Overlap(Ipv4Range, Ipv4Range),
    /// The slot number exceeds the maximum.
    #[error("slot {0} does not exist: slots are 0 to {max}", max = Slot::COUNT - 1)]
    Slot(u8),
}

/// A block of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Range {
    first: u32,
    prefix: u8,
}

impl Ipv4Range {
    /// Creates the range starting at `first` with a prefix of `prefix` bits.
    ///
    /// # Errors
    /// When `first` has bits behind the prefix, or the prefix exceeds 32.
    pub fn new(first: Ipv4Addr, prefix: u8) -> Result<Self, Invalid> {
        let text = format!("{first}/{prefix}");
        if prefix > 32 {
            return Err(Invalid::Syntax(text));
        }
        let range = Self { first: first.to_bits(), prefix };
        if range.first & !range.mask() != 0 { Err(Invalid::HostBits(text)) } else { Ok(range) }
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// Returns the number of prefix bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns whether the ranges have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.mask() & other.mask();
        self.first & shorter == other.first & shorter
    }

    /// Returns the address at `offset`, counted from the first address.
    #[must_use]
    pub fn address(self, offset: u32) -> Ipv4Addr {
        debug_assert!(offset & self.mask() == 0, "offset {offset} lies outside {self}");
        Ipv4Addr::from_bits(self.first | offset)
    }

    /// Returns the `index`-th /24 block of this range.
    fn block24(self, index: u8) -> Self {
        Self { first: self.first | (u32::from(index) << 8), prefix: 24 }
    }
}

impl fmt::Display for Ipv4Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.prefix)
    }
}

impl FromStr for Ipv4Range {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let syntax = || Invalid::Syntax(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(syntax)?;
        Self::new(address.parse().map_err(|_| syntax())?, prefix.parse().map_err(|_| syntax())?)
    }
}

impl TryFrom<String> for Ipv4Range {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Ipv4Range> for String {
    fn from(range: Ipv4Range) -> Self {
        range.to_string()
    }
}

/// A fixed set of address ranges for a cluster, chosen by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// Number of slots, and thus of clusters on a host.
    pub const COUNT: u8 = 16;

    /// Returns all slots in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

impl TryFrom<u8> for Slot {
    type Error = Invalid;

    fn try_from(number: u8) -> Result<Self, Invalid> {
        if number < Self::COUNT { Ok(Self(number)) } else { Err(Invalid::Slot(number)) }
    }
}

impl FromStr for Slot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: u8 = text.parse().map_err(|_| format!("'{text}' is not a slot number"))?;
        Self::try_from(number).map_err(|error| error.to_string())
    }
}

/// The address ranges of a cluster, and the addresses of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    link: Ipv4Range,
    pods: Ipv4Range,
    services: Ipv4Range,
}

impl Network {
    /// Offset of the node addresses in the link range. Lower addresses belong to the host and the API server.
    const NODES_FROM: u32 = 10;

    /// Creates a network from three given ranges.
    ///
    /// # Errors
    /// When a range is too small or two ranges overlap.
    pub fn new(link: Ipv4Range, pods: Ipv4Range, services: Ipv4Range) -> Result<Self, Invalid> {
        for (what, range, prefix_max) in [("link", link, 27), ("pod", pods, 20), ("service", services, 24)] {
            if range.prefix > prefix_max {
                return Err(Invalid::TooSmall { what, range, prefix_max });
            }
        }
        for (one, other) in [(link, pods), (link, services), (pods, services)] {
            if one.overlaps(other) {
                return Err(Invalid::Overlap(one, other));
            }
        }
        Ok(Self { link, pods, services })
    }

    /// Returns the network of a slot, in rarely used parts of 10.0.0.0/8.
    #[must_use]
    pub fn of_slot(slot: Slot) -> Self {
        let range =
            |second: u8, third: u8, prefix| Ipv4Range { first: Ipv4Addr::new(10, second, third, 0).to_bits(), prefix };
        Self { link: range(192, slot.0, 27), pods: range(208 + slot.0, 0, 16), services: range(224 + slot.0, 0, 16) }
    }

    /// Returns all ranges, for comparison with the ranges in use on a host.
    #[must_use]
    pub fn ranges(&self) -> [Ipv4Range; 3] {
        [self.link, self.pods, self.services]
    }

    /// The range between host and cluster.
    #[must_use]
    pub fn link(&self) -> Ipv4Range {
        self.link
    }

    /// The range of all pods.
    #[must_use]
    pub fn pods(&self) -> Ipv4Range {
        self.pods
    }

    /// The range of Services.
    #[must_use]
    pub fn services(&self) -> Ipv4Range {
        self.services
    }

    /// The address of the host on the link.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        self.link.address(1)
    }

    /// The address of the cluster on the link, used by API server and DNS.
    #[must_use]
    pub fn api(&self) -> Ipv4Addr {
        self.link.address(2)
    }

    /// The address of a node. The kubelet listens on this address and connects to the API server through it, so a
    /// single node can be cut off.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Ipv4Addr {
        self.link.address(Self::NODES_FROM + u32::from(node.number()))
    }

    /// The range of the pods on a node.
    #[must_use]
    pub fn pods_of(&self, node: NodeId) -> Ipv4Range {
        self.pods.block24(node.number())
    }

    /// The address of the Service `kubernetes`.
    #[must_use]
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        self.services.address(1)
    }

    /// The address of the cluster DNS Service.
    #[must_use]
    pub fn dns_service(&self) -> Ipv4Addr {
        self.services.address(10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Ipv4Range {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_read_and_written() {
        assert_eq!(range("10.208.0.0/16").to_string(), "10.208.0.0/16");
        assert_eq!("10.0.0.1/16".parse::<Ipv4Range>(), Err(Invalid::HostBits("10.0.0.1/16".into())));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8"] {
            assert!(matches!(bad.parse::<Ipv4Range>(), Err(Invalid::Syntax(_))), "{bad}");
        }
    }

    #[test]
    fn overlap_is_seen_in_both_directions() {
        assert!(range("10.0.0.0/8").overlaps(range("10.208.3.0/24")));
        assert!(range("10.208.3.0/24").overlaps(range("10.0.0.0/8")));
        assert!(range("0.0.0.0/0").overlaps(range("10.0.0.0/8")));
        assert!(!range("10.208.0.0/16").overlaps(range("10.209.0.0/16")));
    }

    #[test]
    fn slots_do_not_overlap_each_other() {
        let ranges: Vec<_> = Slot::all().flat_map(|slot| Network::of_slot(slot).ranges()).collect();
        for (i, one) in ranges.iter().enumerate() {
            for other in &ranges[i + 1..] {
                assert!(!one.overlaps(*other), "{one} and {other}");
            }
        }
        assert_eq!(Slot::try_from(16), Err(Invalid::Slot(16)));
    }

    #[test]
    fn a_network_of_given_ranges_is_checked() {
        let network = Network::of_slot(Slot(3));
        assert_eq!(Network::new(network.link, network.pods, network.services), Ok(network));
        assert!(matches!(
            Network::new(range("10.1.0.0/30"), range("10.2.0.0/16"), range("10.3.0.0/16")),
            Err(Invalid::TooSmall { what: "link", .. })
        ));
        assert!(matches!(
            Network::new(range("10.1.0.0/24"), range("10.2.0.0/16"), range("10.2.0.0/20")),
            Err(Invalid::Overlap(..))
        ));
    }

    #[test]
    fn addresses_are_distinct_and_inside() {
        let network = Network::of_slot(Slot(1));
        let node = NodeId::try_from(9).unwrap();
        assert_eq!(network.host().to_string(), "10.192.1.1");
        assert_eq!(network.api().to_string(), "10.192.1.2");
        assert_eq!(network.node(node).to_string(), "10.192.1.19");
        assert_eq!(network.pods_of(node).to_string(), "10.209.9.0/24");
        assert_eq!(network.dns_service().to_string(), "10.225.0.10");
    }
}
