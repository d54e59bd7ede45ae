//! The network interface of a cluster on the host, with its routes.

use crate::{
    command::Run,
    config::Addresses,
    error::Error,
    instance::Instance,
    network::{Ipv4Range, Network, Slot},
};
use serde::Deserialize;
use std::{net::Ipv4Addr, path::Path};

/// Name of the interface at the other end, inside the namespace.
pub(crate) const INSIDE: &str = "uplink";

/// An address range in use on the host, with its route or interface.
#[derive(Clone, Debug)]
struct Used {
    range: Ipv4Range,
    by: String,
}

/// Chooses address ranges without overlap with the routes of this host.
pub(crate) async fn choose_network(addresses: Addresses) -> Result<Network, Error> {
    let used = used_ranges().await?;
    match addresses {
        Addresses::Given(network) => require_free(network, &used),
        Addresses::Slot(slot) => require_free(Network::of_slot(slot), &used),
        Addresses::FirstFree => Slot::all()
            .map(Network::of_slot)
            .find(|network| require_free(*network, &used).is_ok())
            .ok_or(Error::NoFreeSlot),
    }
}

/// Returns the network unless a range is in use. Routes with a prefix of /8 or shorter are ignored, because the kernel
/// prefers the narrower route.
fn require_free(network: Network, used: &[Used]) -> Result<Network, Error> {
    for range in network.ranges() {
        let obstacle = used.iter().find(|used| used.range.prefix() > 8 && used.range.overlaps(range));
        if let Some(used) = obstacle {
            return Err(Error::RangeTaken { range, by: used.by.clone() });
        }
    }
    Ok(network)
}

#[derive(Deserialize)]
struct Route {
    dst: String,
    dev: Option<String>,
}

async fn used_ranges() -> Result<Vec<Used>, Error> {
    const ASKED: [&str; 7] = ["-json", "-4", "route", "show", "table", "all", "scope"];
    let mut used = Vec::new();
    // Scopes `link` and `global` are routes; scope `host` contains the addresses of the machine.
    for scope in ["link", "global", "host"] {
        let text = Run::new("ip").args(ASKED).args([scope]).output().await?;
        used.extend(parse_routes(&text).map_err(|source| Error::Answer { asked: "ip route".to_owned(), source })?);
    }
    Ok(used)
}

/// Parses the output of `ip`. An empty output means an empty list, and a single address has no prefix.
fn parse_routes(text: &str) -> Result<Vec<Used>, serde_json::Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let routes: Vec<Route> = serde_json::from_str(text)?;
    let used = routes.into_iter().filter_map(|route| {
        let single = || Ipv4Range::new(route.dst.parse::<Ipv4Addr>().ok()?, 32).ok();
        let range = route.dst.parse().ok().or_else(single)?;
        let by = route.dev.map_or_else(|| route.dst.clone(), |dev| format!("{} on interface {dev}", route.dst));
        Some(Used { range, by })
    });
    Ok(used.collect())
}

pub(crate) fn interface_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Creates a veth pair: one end on the host, the other in the network namespace of `pid`.
pub(crate) async fn connect(instance: &Instance, pid: i32) -> Result<(), Error> {
    let name = instance.name.interface();
    let network = &instance.network;
    let (pid, gateway) = (pid.to_string(), network.api().to_string());
    let address = format!("{}/{}", network.host(), network.link().prefix());
    ip(&["link", "add", &name, "type", "veth", "peer", "name", INSIDE, "netns", &pid]).await?;
    ip(&["addr", "add", &address, "dev", &name]).await?;
    ip(&["link", "set", &name, "up"]).await?;
    for range in [network.pods(), network.services()] {
        ip(&["route", "add", &range.to_string(), "via", &gateway, "dev", &name]).await?;
    }
    Ok(())
}

/// Removes the interface of the host and thereby its routes. The kernel may have removed the interface already.
pub(crate) async fn disconnect(interface: &str) -> Result<(), Error> {
    if interface_exists(interface)
        && let Err(error) = ip(&["link", "del", interface]).await
        && interface_exists(interface)
    {
        return Err(error);
    }
    Ok(())
}

pub(crate) async fn ip(args: &[&str]) -> Result<String, Error> {
    Ok(Run::new("ip").args(args).output().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
        {"dst":"10.0.0.0/8","gateway":"192.0.2.9","dev":"vpn0","flags":[]},
        {"dst":"10.209.0.0/16","gateway":"10.192.1.2","dev":"tf-two","flags":[]},
        {"dst":"10.224.0.1","dev":"tun0","flags":[]}]"#;

    #[test]
    fn a_taken_range_is_told_with_what_takes_it() {
        let used = parse_routes(ROUTES).unwrap();
        let taken = |slot: u8| require_free(Network::of_slot(Slot::try_from(slot).unwrap()), &used);
        let error = taken(1).unwrap_err().to_string();
        assert!(error.contains("10.209.0.0/16") && error.contains("tf-two"), "{error}");
        let error = taken(0).unwrap_err().to_string();
        assert!(error.contains("10.224.0.0/16") && error.contains("tun0"), "{error}");
    }

    #[test]
    fn default_and_broad_routes_leave_room() {
        let used = parse_routes(ROUTES).unwrap();
        assert!(require_free(Network::of_slot(Slot::try_from(2).unwrap()), &used).is_ok());
        assert!(parse_routes("").unwrap().is_empty());
    }
}
