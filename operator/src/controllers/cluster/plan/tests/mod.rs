//! Tables for single decisions, and a small simulated world with random faults for the invariants of every decision.

mod bootstrap;
mod grant;
mod replace;
mod roll;
mod scale;
mod whole;
mod world;

use super::{
    Action, Plan,
    grant::{GRANT_TTL, HOLDER},
    plan,
};
use crate::{
    controllers::cluster::{
        node_view,
        observation::{
            NodeObservation, Observation, PodObservation, PodProblem, Recorded, SetObservation, StoreObservation, Wish,
        },
    },
    resources::identity::Identity,
};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use taffrail_crds::{Reason, Step};
use taffrail_proto::{
    admin::{ClusterView, Grant, Lifecycle, NodeStatus, NodeView, StoreView},
    v1::{ClusterStatus, Node, NodeState, Replica, Store, StoreState},
};

const ID: &str = "0198f3c2-7d54-7cc2-9b0e-2f6f0f2f9a10";
const OTHER: &str = "0198f3c2-7d54-7cc2-9b0e-2f6f0f2f9a11";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a valid time")
}

fn wish(replicas: i32) -> Wish {
    Wish { name: "main".to_owned(), replicas, paused: false, deleting: false }
}

fn identity(formed: bool, nodes: i32) -> Recorded {
    Recorded::Identity(Identity { cluster_id: ID.to_owned(), formed, nodes: Some(nodes) })
}

fn pod(ordinal: i32, status: NodeStatus) -> PodObservation {
    PodObservation {
        name: format!("main-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        address: Some(format!("10.0.0.{ordinal}:2115")),
        revision: "new".to_owned(),
        ready: status.lifecycle() == Lifecycle::Member,
        running: true,
        terminating: false,
        started: Some(at(0)),
        created: at(0),
        problem: None,
        node: NodeObservation::Status(Box::new(status)),
    }
}

fn blank(ordinal: i32) -> PodObservation {
    pod(
        ordinal,
        NodeStatus {
            lifecycle: Lifecycle::Blank.into(),
            disk_id: format!("disk-{ordinal}"),
            blank: true,
            ..NodeStatus::default()
        },
    )
}

fn member(ordinal: i32, cluster_id: &str) -> PodObservation {
    pod(
        ordinal,
        NodeStatus {
            lifecycle: Lifecycle::Member.into(),
            cluster_id: cluster_id.to_owned(),
            disk_id: format!("disk-{ordinal}"),
            node_id: u64::try_from(ordinal).expect("an ordinal") + 1,
            ..NodeStatus::default()
        },
    )
}

fn node(ordinal: i32, state: NodeState) -> NodeView {
    let id = u64::try_from(ordinal).expect("an ordinal") + 1;
    NodeView {
        node: Some(Node {
            node_id: id,
            disk_id: format!("disk-{ordinal}"),
            name: format!("main-{ordinal}"),
            state: state.into(),
            system_voter: true,
            reachable: true,
            ..Node::default()
        }),
        named_by_groups: vec![0],
        caught_up: true,
        ..NodeView::default()
    }
}

fn store(name: &str, replicas: u32, state: StoreState) -> StoreView {
    StoreView {
        store: Some(Store {
            id: format!("id-{name}"),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            replicas,
            state: state.into(),
            ..Store::default()
        }),
        declared_by: format!("uid-{name}"),
        ..StoreView::default()
    }
}

/// A formed Cluster of `n` members at rest.
fn rest(n: i32) -> Observation {
    Observation {
        recorded: identity(true, n),
        set: Some(SetObservation { replicas: n, revision: Some("new".to_owned()) }),
        pods: (0..n).map(|ordinal| (ordinal, member(ordinal, ID))).collect(),
        view: Some(ClusterView {
            status: Some(ClusterStatus {
                cluster_id: ID.to_owned(),
                coordinator_node_id: Some(1),
                ..ClusterStatus::default()
            }),
            nodes: (0..n).map(|ordinal| node(ordinal, NodeState::Member)).collect(),
            ..ClusterView::default()
        }),
        ..Observation::default()
    }
}

fn view(observation: &mut Observation) -> &mut ClusterView {
    observation.view.as_mut().expect("a view")
}

fn outdated(observation: &mut Observation, ordinals: &[i32]) {
    for ordinal in ordinals {
        observation.pods.get_mut(ordinal).expect("a pod").revision = "old".to_owned();
    }
}

fn restarted(plan: &Plan) -> Option<&str> {
    plan.actions.iter().find_map(|action| {
        let Action::Restart { pod, .. } = action else { return None };
        Some(pod.as_str())
    })
}
