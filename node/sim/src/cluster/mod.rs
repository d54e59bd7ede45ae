//! A whole cluster under one seed: the nodes run their real lifecycle, member, coordinator, admin service and gateway.
//!
//! The environment decides about faults, and about the requests of clients and of the operator. Everything else is the code
//! of the node: no module of this folder decides about replicas, memberships, the catalogue or retries of a node.
//!
//! - [`run`]: the course of a run. [`layout`]: the drawn numbers of hosts and stores.
//! - [`host`]: a host that crashes and restarts a node. [`volume`]: the marker of the disk. [`settings`]: the configuration.
//! - [`links`]: verified connections between nodes. [`port`], [`peers`]: gRPC calls between nodes and from outside.
//! - [`simulated`]: the shared state of a run. [`ledger`]: answers to clients.
//! - [`clients`], [`reading`], [`gateway_client`]: appends and reads. [`operator`], [`admin`]: requests of the operator.
//! - [`faults`], [`media_faults`], [`divergence`]: crashes, cuts, slow disks, leadership transfers; failing writes, damaged
//!   blocks and logs; histories that differ.
//! - [`replica_checks`]: conditions of every removal and every install, and a count of the groups formed by another replica
//!   than the replica named by the catalogue. [`checks`], [`leftovers`]: conditions at the end.

pub mod admin;
pub mod checks;
pub mod clients;
pub mod divergence;
pub mod faults;
pub mod gateway_client;
pub mod host;
pub mod layout;
pub mod ledger;
pub mod leftovers;
pub mod links;
pub mod media_faults;
pub mod operator;
pub mod peers;
pub mod port;
pub mod reading;
pub mod replica_checks;
pub mod run;
pub mod settings;
pub mod simulated;
pub mod volume;
