//! Network faults: drops packets with iptables rules in a dedicated chain, replaced as a whole.
//!
//! The chain belongs to the `mangle` table for two reasons. The table precedes `filter`, where kube-proxy accepts
//! established connections; and in its hooks Service addresses are already translated, so rules can match pod
//! addresses. Packets within a node never match.

use crate::{
    command::Run,
    error::Error,
    instance::Instance,
    protocol::{Cut, CutStatus},
};
use std::{collections::BTreeSet, fmt::Write};

const CHAIN: &str = "TAFFRAIL-CUT";

/// Seconds to wait for the lock of iptables, which kube-proxy may hold.
const LOCK_SECONDS: &str = "20";

/// Creates the empty chain and the calls to the chain.
pub(super) async fn prepare() -> Result<(), Error> {
    let iptables = |args: &[&str]| Run::new("iptables").args(["-w", LOCK_SECONDS, "-t", "mangle"]).args(args).output();
    iptables(&["-N", CHAIN]).await?;
    for hook in ["FORWARD", "INPUT"] {
        iptables(&["-I", hook, "-j", CHAIN]).await?;
    }
    Ok(())
}

/// Replaces the rules of the chain atomically.
pub(super) async fn set(instance: &Instance, cuts: &BTreeSet<Cut>) -> Result<(), Error> {
    let table = render(instance, cuts);
    Run::new("iptables-restore").args(["-w", LOCK_SECONDS, "--noflush"]).stdin(table).output().await?;
    Ok(())
}

/// Returns the packets dropped by each cut so far.
pub(super) async fn dropped(instance: &Instance, cuts: &BTreeSet<Cut>) -> Result<Vec<CutStatus>, Error> {
    if cuts.is_empty() {
        return Ok(Vec::new());
    }
    let list = ["-w", LOCK_SECONDS, "-t", "mangle", "-nvxL", CHAIN];
    let counters = parse_counters(&Run::new("iptables").args(list).output().await?);
    let mut counters = counters.into_iter();
    let sum = |cut: &Cut| counters.by_ref().take(rules(instance, *cut).len()).sum();
    let packets: Vec<u64> = cuts.iter().map(sum).collect();
    let pairs = cuts.iter().zip(packets);
    Ok(pairs.map(|(cut, packets_dropped)| CutStatus { cut: *cut, packets_dropped }).collect())
}

/// Renders the input of `iptables-restore`. Declaring the chain flushes its old rules.
fn render(instance: &Instance, cuts: &BTreeSet<Cut>) -> String {
    let mut table = format!("*mangle\n:{CHAIN} - [0:0]\n");
    for rule in cuts.iter().flat_map(|cut| rules(instance, *cut)) {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "-A {CHAIN} {rule} -j DROP");
    }
    table.push_str("COMMIT\n");
    table
}

fn rules(instance: &Instance, cut: Cut) -> Vec<String> {
    let network = &instance.network;
    match cut {
        Cut::Pods { from, to } => vec![format!("-s {} -d {}", network.pods_of(from), network.pods_of(to))],
        Cut::Api { node } => {
            let (pods, kubelet, api) = (network.pods_of(node), network.node(node), network.api());
            vec![
                format!("-s {pods} -d {api} -p tcp --dport {}", Instance::API_PORT),
                format!("-d {kubelet} -p tcp --dport {}", Instance::API_PORT),
                format!("-d {kubelet} -p tcp --dport 10250"),
            ]
        }
    }
}

/// Parses the packet counters: the first column of each rule, after two header lines.
fn parse_counters(listing: &str) -> Vec<u64> {
    let rules = listing.lines().skip(2);
    rules.filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{instance::tests::sample, names::NodeId};

    fn node(number: u8) -> NodeId {
        NodeId::try_from(number).unwrap()
    }

    #[test]
    fn a_one_way_cut_names_one_direction() {
        let cuts = BTreeSet::from([Cut::Pods { from: node(1), to: node(2) }]);
        let table = render(&sample("one", 0), &cuts);
        assert!(table.contains("-A TAFFRAIL-CUT -s 10.208.1.0/24 -d 10.208.2.0/24 -j DROP\n"), "{table}");
        assert_eq!(table.matches("-j DROP").count(), 1);
        assert!(!table.contains("6443"));
    }

    #[test]
    fn cutting_the_api_takes_pods_and_kubelet() {
        let table = render(&sample("one", 0), &BTreeSet::from([Cut::Api { node: node(3) }]));
        assert!(table.contains("-s 10.208.3.0/24 -d 10.192.0.2 -p tcp --dport 6443"), "{table}");
        assert!(table.contains("-d 10.192.0.13 -p tcp --dport 6443"), "{table}");
    }

    #[test]
    fn no_cuts_is_an_empty_chain() {
        assert_eq!(render(&sample("one", 0), &BTreeSet::new()), "*mangle\n:TAFFRAIL-CUT - [0:0]\nCOMMIT\n");
    }

    #[test]
    fn counters_are_read() {
        let listing = "Chain TAFFRAIL-CUT (2 references)\n    pkts      bytes target\n      12      720 DROP  all\n       3      180 DROP\n";
        assert_eq!(parse_counters(listing), [12, 3]);
    }
}
