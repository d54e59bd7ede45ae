//! Tables for single decisions, and a small world with random faults for what must hold in every one of them.

use std::collections::BTreeMap;

use taffrail_proto::admin::{ClusterView, Grant, Lifecycle, NodeStatus, NodeView, StoreView};
use taffrail_proto::v1::{ClusterStatus, Node, Replica, Store};

use super::*;
use crate::controllers::cluster::act::HOLDER;
use crate::controllers::cluster::seen::{self, PodSeen, Report, SetSeen, StoreSeen, Trouble};
use taffrail_proto::v1::NodeState;

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

fn pod(ordinal: i32, status: NodeStatus) -> PodSeen {
    PodSeen {
        name: format!("main-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        address: Some(format!("10.0.0.{ordinal}:2115")),
        revision: "new".to_owned(),
        ready: status.lifecycle() == Lifecycle::Member,
        running: true,
        terminating: false,
        started: Some(at(0)),
        created: at(0),
        trouble: None,
        report: Report::Node(Box::new(status)),
    }
}

fn blank(ordinal: i32) -> PodSeen {
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

fn member(ordinal: i32, cluster_id: &str) -> PodSeen {
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
fn rest(n: i32) -> Seen {
    Seen {
        recorded: identity(true, n),
        set: Some(SetSeen { replicas: n, revision: Some("new".to_owned()) }),
        pods: (0..n).map(|ordinal| (ordinal, member(ordinal, ID))).collect(),
        view: Some(ClusterView {
            status: Some(ClusterStatus { cluster_id: ID.to_owned(), coordinator: 1, ..ClusterStatus::default() }),
            nodes: (0..n).map(|ordinal| node(ordinal, NodeState::Member)).collect(),
            ..ClusterView::default()
        }),
        ..Seen::default()
    }
}

fn view(seen: &mut Seen) -> &mut ClusterView {
    seen.view.as_mut().expect("a view")
}

fn forming(pods: impl IntoIterator<Item = PodSeen>, recorded: Recorded) -> Seen {
    let pods: BTreeMap<i32, PodSeen> = pods
        .into_iter()
        .map(|pod| (crate::resources::names::ordinal("main", &pod.name).expect("a pod of main"), pod))
        .collect();
    Seen {
        recorded,
        set: Some(SetSeen { replicas: i32::try_from(pods.len()).expect("few"), revision: Some("new".to_owned()) }),
        pods,
        ..Seen::default()
    }
}

fn bootstraps(plan: &Plan) -> bool {
    plan.actions.iter().any(|action| matches!(action, Action::Bootstrap { .. }))
}

#[test]
fn a_cluster_at_rest_needs_nothing() {
    for n in [1, 2, 3, 5] {
        let plan = plan(&wish(n), &rest(n), at(1000));
        assert_eq!((plan.actions, plan.steps, plan.stalled, plan.changing, plan.size), (vec![], vec![], None, None, n));
    }
}

#[test]
fn nothing_is_formed_before_every_expected_pod_has_reported() {
    let mut silent = blank(2);
    silent.report = Report::Silent("no answer".to_owned());
    for pods in [vec![blank(0), blank(1)], vec![blank(0), blank(1), silent]] {
        for recorded in [Recorded::Nowhere, identity(false, 3), Recorded::Annotations(ID.to_owned())] {
            let plan = plan(&wish(3), &forming(pods.clone(), recorded), at(1));
            assert!(plan.actions.is_empty(), "{plan:?}");
            assert_eq!(plan.changing.map(|c| c.0), Some(Reason::Bootstrapping));
        }
    }
}

#[test]
fn a_node_that_has_not_opened_its_disk_yet_is_not_blank() {
    let mut opening = blank(0);
    if let Report::Node(status) = &mut opening.report {
        status.disk_id.clear();
    }
    for recorded in [Recorded::Nowhere, identity(false, 1), identity(true, 1)] {
        let plan = plan(&wish(1), &forming([opening.clone()], recorded), at(1));
        assert!(plan.actions.is_empty() && plan.stalled.is_none(), "{plan:?}");
    }
}

#[test]
fn the_identity_is_recorded_in_one_pass_and_used_in_the_next() {
    let pods = || (0..3).map(blank);
    let first = plan(&wish(3), &forming(pods(), Recorded::Nowhere), at(1));
    assert_eq!(first.actions, [Action::Record { cluster_id: None, formed: false, nodes: 3 }]);
    let second = plan(&wish(3), &forming(pods(), identity(false, 3)), at(1));
    assert!(bootstraps(&second));
    assert_eq!(second.actions.last(), Some(&Action::MarkFormed { nodes: 3 }));
}

#[test]
fn a_formed_cluster_never_bootstraps_again() {
    let mut seen = forming((0..3).map(blank), identity(true, 3));
    let lost = plan(&wish(3), &seen, at(1));
    assert!(lost.actions.is_empty(), "{lost:?}");
    assert_eq!(lost.stalled.map(|s| s.0), Some(Reason::NodeLost));
    seen.pods.insert(0, member(0, ID));
    let joined = plan(&wish(3), &seen, at(1));
    assert!(!bootstraps(&joined));
    let joins = joined.actions.iter().filter(|action| matches!(action, Action::Join { .. })).count();
    assert_eq!(joins, 2);
}

#[test]
fn a_bootstrap_whose_answer_was_lost_is_taken_up() {
    let seen = forming([member(0, ID), blank(1), blank(2)], identity(false, 3));
    let plan = plan(&wish(3), &seen, at(1));
    assert!(plan.formed && !bootstraps(&plan));
    assert!(plan.actions.contains(&Action::MarkFormed { nodes: 3 }));
}

#[test]
fn volumes_of_the_recorded_cluster_are_adopted_and_all_others_stop() {
    let adopted =
        plan(&wish(3), &forming([member(0, ID), member(1, ID), blank(2)], Recorded::Annotations(ID.to_owned())), at(1));
    assert!(matches!(&adopted.actions[..], [Action::Record { cluster_id: Some(id), formed: true, .. }] if id == ID));
    for recorded in [Recorded::Nowhere, identity(false, 3), identity(true, 3), Recorded::Annotations(ID.to_owned())] {
        let stopped = plan(&wish(3), &forming([member(0, OTHER), blank(1), blank(2)], recorded), at(1));
        assert_eq!(stopped.stalled.as_ref().map(|s| s.0), Some(Reason::ForeignVolumes), "{stopped:?}");
        assert!(stopped.actions.is_empty(), "{stopped:?}");
    }
}

#[test]
fn growing_takes_one_pod_at_a_time_and_waits_for_the_last_one() {
    let seen = rest(3);
    let first = plan(&wish(5), &seen, at(1000));
    assert_eq!((first.size, first.shrinks), (4, false));
    assert_eq!(first.actions, [Action::RecordNodes(4)]);
    let mut seen = rest(3);
    seen.recorded = identity(true, 4);
    let waiting = plan(&wish(5), &seen, at(1000));
    assert_eq!(waiting.size, 4);
    assert!(waiting.actions.is_empty());
}

#[test]
fn shrinking_drains_proves_and_only_then_removes() {
    let mut seen = rest(3);
    let draining = plan(&wish(2), &seen, at(1000));
    assert_eq!((draining.size, draining.shrinks), (3, false));
    assert_eq!(draining.actions, [Action::Drain { node_id: 3, pod: "main-2".to_owned() }]);
    // Drained, but a group still names it: not yet.
    view(&mut seen).nodes[2] = node(2, NodeState::Drained);
    assert_eq!(plan(&wish(2), &seen, at(1000)).size, 3);
    view(&mut seen).nodes[2].named_by_groups.clear();
    let removed = plan(&wish(2), &seen, at(1000));
    assert_eq!((removed.size, removed.shrinks), (2, true));
    assert_eq!(removed.actions, [Action::RecordNodes(2)]);
}

#[test]
fn a_scale_down_that_does_not_fit_is_held_and_names_the_stores() {
    let mut seen = rest(3);
    view(&mut seen).stores = vec![
        store("orders", 3, StoreState::Active),
        store("old", 3, StoreState::Retained),
        store("small", 1, StoreState::Active),
        store("going", 3, StoreState::Removing),
    ];
    view(&mut seen).stores[1].declared_by.clear();
    seen.stores = ["orders", "small"]
        .map(|name| StoreSeen {
            uid: format!("uid-{name}"),
            name: name.to_owned(),
            replicas: if name == "orders" { 3 } else { 1 },
        })
        .into();
    let held = plan(&wish(1), &seen, at(1000));
    let (reason, message) = held.stalled.expect("stalled");
    assert_eq!(reason, Reason::ScaleDownBlocked);
    assert!(message.contains("orders") && message.contains("old (3 replicas, retained)"), "{message}");
    assert!(!message.contains("small") && !message.contains("going"), "{message}");
    assert!(held.actions.is_empty());
}

#[test]
fn a_reverted_scale_down_takes_the_drain_back() {
    let mut seen = rest(3);
    view(&mut seen).nodes[2] = node(2, NodeState::Draining);
    let plan = plan(&wish(3), &seen, at(1000));
    assert_eq!(plan.actions, [Action::CancelDrain { node_id: 3, pod: "main-2".to_owned() }]);
}

#[test]
fn a_stateful_set_that_somebody_scaled_is_put_right() {
    for (replicas, size) in [(0, 3), (1, 3), (4, 3), (5, 4)] {
        let mut seen = rest(3);
        seen.set = Some(SetSeen { replicas, revision: Some("new".to_owned()) });
        let put_right = plan(&wish(3), &seen, at(1000));
        assert_eq!((put_right.size, put_right.shrinks), (size, size < replicas), "{replicas}");
        assert!(put_right.actions.is_empty(), "the record stays: {put_right:?}");
    }
    // Unless a node has joined meanwhile: then it is drained first. And without a view nothing is taken away.
    let mut joined = rest(4);
    joined.recorded = identity(true, 3);
    let drained = plan(&wish(3), &joined, at(1000));
    assert_eq!((drained.size, drained.shrinks), (4, false));
    assert!(matches!(&drained.actions[..], [Action::Drain { node_id: 4, .. }]), "{drained:?}");
    joined.view = None;
    let blind = plan(&wish(3), &joined, at(1000));
    assert_eq!((blind.size, blind.shrinks), (4, false));
}

/// `main-1` came up with an empty volume: a new node beside the old one of the same name.
fn emptied() -> Seen {
    let mut seen = rest(3);
    let mut lost = node(1, NodeState::Member);
    let mut fresh = node(1, NodeState::Member);
    if let (Some(lost), Some(fresh)) = (lost.node.as_mut(), fresh.node.as_mut()) {
        lost.reachable = false;
        fresh.node_id = 9;
        fresh.disk_id = "disk-1b".to_owned();
    }
    view(&mut seen).nodes[1] = lost;
    view(&mut seen).nodes.push(fresh);
    if let Some(Report::Node(status)) = seen.pods.get_mut(&1).map(|pod| &mut pod.report) {
        status.disk_id = "disk-1b".to_owned();
        status.node_id = 9;
    }
    seen
}

fn replaces(plan: &Plan) -> bool {
    let replace = Action::Replace { old: 2, new: 9, pod: "main-1".to_owned() };
    plan.actions.contains(&replace)
}

#[test]
fn an_emptied_volume_is_replaced_after_a_minute_and_only_when_safe() {
    let early = plan(&wish(3), &emptied(), at(59));
    assert!(!replaces(&early) && early.recheck.is_some());
    assert!(early.degraded.is_some());
    assert!(replaces(&plan(&wish(3), &emptied(), at(61))));

    let mut unsafe_now = emptied();
    view(&mut unsafe_now).nodes[1].disruption_blocked_by = "orders".to_owned();
    assert!(!replaces(&plan(&wish(3), &unsafe_now, at(61))));

    let mut busy = emptied();
    view(&mut busy).replacements.push(taffrail_proto::admin::ReplacementView {
        old_node_id: 7,
        new_node_id: 8,
        ..Default::default()
    });
    assert!(!replaces(&plan(&wish(3), &busy, at(61))));

    let mut back = emptied();
    if let Some(lost) = view(&mut back).nodes[1].node.as_mut() {
        lost.reachable = true;
    }
    assert!(!replaces(&plan(&wish(3), &back, at(61))));
}

fn outdated(seen: &mut Seen, ordinals: &[i32]) {
    for ordinal in ordinals {
        seen.pods.get_mut(ordinal).expect("a pod").revision = "old".to_owned();
    }
}

fn restarted(plan: &Plan) -> Option<&str> {
    plan.actions.iter().find_map(|action| match action {
        Action::Restart { pod, .. } => Some(pod.as_str()),
        _ => None,
    })
}

#[test]
fn a_changed_template_takes_the_node_with_the_fewest_leaders_first() {
    let mut seen = rest(3);
    outdated(&mut seen, &[0, 1, 2]);
    for (index, leaders) in [2, 5, 3].into_iter().enumerate() {
        view(&mut seen).nodes[index].node.as_mut().expect("a node").leaders = leaders;
    }
    assert_eq!(restarted(&plan(&wish(3), &seen, at(1000))), Some("main-0"));
}

#[test]
fn no_second_pod_goes_while_the_first_is_away_or_behind() {
    let base = || {
        let mut seen = rest(3);
        outdated(&mut seen, &[0, 1]);
        seen
    };
    let mut away = base();
    away.pods.remove(&2);
    let mut stopping = base();
    stopping.pods.get_mut(&2).expect("a pod").terminating = true;
    let mut unready = base();
    unready.pods.get_mut(&2).expect("a pod").ready = false;
    unready.pods.get_mut(&2).expect("a pod").created = at(999);
    let mut behind = base();
    view(&mut behind).nodes[2].caught_up = false;
    let mut guarded = base();
    for node in &mut view(&mut guarded).nodes {
        node.disruption_blocked_by = "orders".to_owned();
    }
    let mut granted = base();
    view(&mut granted).grants = vec![Grant { node_id: 3, holder: "someone else".to_owned(), expires_in_ms: 1000 }];
    for seen in [away, stopping, unready, behind, guarded, granted] {
        let plan = plan(&wish(3), &seen, at(1000));
        assert_eq!(restarted(&plan), None, "{plan:?}");
        assert!(plan.steps.iter().any(|step| step.step == Step::RestartPod && step.waiting_for.is_some()));
    }
}

#[test]
fn our_own_grant_goes_on_and_is_given_back_when_the_pod_is_caught_up() {
    let mut seen = rest(3);
    outdated(&mut seen, &[0, 1]);
    view(&mut seen).grants = vec![Grant { node_id: 2, holder: HOLDER.to_owned(), expires_in_ms: 595_000 }];
    let going = plan(&wish(3), &seen, at(1000));
    assert_eq!(restarted(&going), Some("main-1"));
    let held = going.actions.iter().any(
        |action| matches!(action, Action::Restart { granted_for: Some(since), .. } if *since == Duration::from_secs(5)),
    );
    assert!(held, "{going:?}");
    seen.pods.get_mut(&1).expect("a pod").revision = "new".to_owned();
    let back = plan(&wish(3), &seen, at(1000));
    assert!(back.actions.contains(&Action::Release { node_id: 2, pod: "main-1".to_owned() }));
    assert_eq!(restarted(&back), None);
}

#[test]
fn a_pod_that_does_not_come_back_halts_the_rollout_until_the_template_changes() {
    let mut seen = rest(3);
    outdated(&mut seen, &[0, 1]);
    let bad = seen.pods.get_mut(&2).expect("a pod");
    bad.ready = false;
    bad.running = false;
    bad.report = Report::Silent("the process does not run yet".to_owned());
    bad.trouble = Some(Trouble { reason: Reason::ImagePullFailed, message: "main-2: ImagePullBackOff".to_owned() });
    let halted = plan(&wish(3), &seen, at(1000));
    assert_eq!(halted.stalled.as_ref().map(|s| s.0), Some(Reason::RolloutHalted));
    assert!(!halted.is_disturbing(), "{halted:?}");
    seen.set = Some(SetSeen { replicas: 3, revision: Some("newer".to_owned()) });
    let resumed = plan(&wish(3), &seen, at(1000));
    assert_eq!(resumed.actions, [Action::DeleteBroken { pod: "main-2".to_owned(), uid: "uid-2".to_owned() }]);
}

#[test]
fn without_a_view_only_pods_that_do_not_run_are_touched() {
    let mut seen = rest(3);
    outdated(&mut seen, &[0, 1, 2]);
    seen.view = None;
    let nothing = plan(&wish(1), &seen, at(1000));
    assert!(!nothing.is_disturbing());
    let broken = seen.pods.get_mut(&1).expect("a pod");
    (broken.running, broken.ready) = (false, false);
    let plan = plan(&wish(1), &seen, at(1000));
    assert!(matches!(&plan.actions[..], [Action::DeleteBroken { pod, .. }] if pod == "main-1"), "{plan:?}");
    assert_eq!((plan.size, plan.shrinks), (3, false));
}

#[test]
fn stores_whose_object_is_gone_are_retained_and_others_left_alone() {
    let mut seen = rest(3);
    view(&mut seen).stores = vec![
        store("gone", 3, StoreState::Active),
        store("here", 3, StoreState::Active),
        store("kept", 3, StoreState::Retained),
        store("leaving", 3, StoreState::Removing),
        store("by-hand", 3, StoreState::Active),
    ];
    view(&mut seen).stores[4].declared_by.clear();
    seen.stores = vec![StoreSeen { uid: "uid-here".to_owned(), name: "here".to_owned(), replicas: 3 }];
    let plan = plan(&wish(3), &seen, at(1000));
    assert!(matches!(&plan.actions[..], [Action::Retain { name, .. }] if name == "gone"), "{plan:?}");
}

#[test]
fn a_paused_cluster_is_only_looked_at() {
    let mut seen = rest(3);
    outdated(&mut seen, &[0]);
    for replicas in [1, 3, 5] {
        let mut wish = wish(replicas);
        wish.paused = true;
        let plan = plan(&wish, &seen, at(1000));
        assert_eq!((plan.actions.len(), plan.size, plan.shrinks), (0, 3, false));
    }
}

#[test]
fn leaders_of_single_voter_stores_do_not_hold_a_restart_up() {
    let mut seen = rest(1);
    outdated(&mut seen, &[0]);
    let mut single = store("small", 1, StoreState::Active);
    if let Some(store) = single.store.as_mut() {
        store.leader = 1;
        store.members = vec![Replica { node_id: 1, voter: true, leader: true, ..Replica::default() }];
    }
    view(&mut seen).stores = vec![single];
    seen.stores = vec![StoreSeen { uid: "uid-small".to_owned(), name: "small".to_owned(), replicas: 1 }];
    let plan = plan(&wish(1), &seen, at(1000));
    assert!(matches!(&plan.actions[..], [Action::Restart { leads: 0, .. }]), "{plan:?}");
}

mod world {
    //! A Cluster that does what it is told, and breaks at random.

    use super::*;

    /// Numbers from a seed; the seed is all that is needed to repeat a run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    #[derive(Default)]
    struct World {
        wish: i32,
        seen: Seen,
        /// What each volume carries; volumes stay when pods go.
        disks: BTreeMap<i32, (String, String)>,
        next_node: u64,
        next_disk: u64,
        formed: u32,
        now: i64,
        /// What was done, for a failure to show.
        history: Vec<String>,
    }

    impl World {
        fn new(replicas: i32) -> Self {
            Self { wish: replicas, next_node: 1, ..Self::default() }
        }

        fn catalogue(&mut self) -> &mut Vec<NodeView> {
            &mut self.seen.view.get_or_insert_with(ClusterView::default).nodes
        }

        /// Kubernetes: as many pods as the StatefulSet says, on their volumes.
        fn kubernetes(&mut self) {
            let replicas = self.seen.set.as_ref().map_or(0, |set| set.replicas);
            let revision = self.seen.set.as_ref().and_then(|set| set.revision.clone()).unwrap_or_default();
            self.seen.pods.retain(|ordinal, pod| *ordinal < replicas && !pod.terminating);
            for ordinal in 0..replicas {
                if self.seen.pods.contains_key(&ordinal) {
                    continue;
                }
                let next_disk = &mut self.next_disk;
                let (disk, cluster) = self.disks.entry(ordinal).or_insert_with(|| {
                    *next_disk += 1;
                    (format!("disk-{next_disk}"), String::new())
                });
                let mut pod = blank(ordinal);
                pod.uid = format!("uid-{ordinal}-{}", self.now);
                pod.revision.clone_from(&revision);
                (pod.started, pod.created) = (Some(at(self.now)), at(self.now));
                if let Report::Node(status) = &mut pod.report {
                    status.disk_id.clone_from(disk);
                    status.cluster_id.clone_from(cluster);
                    status.blank = cluster.is_empty();
                    let known = self.seen.view.iter().flat_map(|view| &view.nodes).find(|node| {
                        node.node.as_ref().is_some_and(|n| n.disk_id == *disk) && seen::state(node) == NodeState::Member
                    });
                    if let Some(node) = known {
                        status.node_id = seen::id(node);
                        status.set_lifecycle(Lifecycle::Member);
                        pod.ready = true;
                    }
                }
                self.seen.pods.insert(ordinal, pod);
            }
        }

        /// The nodes: whoever knows the cluster registers; a drained volume comes back blank.
        fn nodes(&mut self) {
            let gone: Vec<String> = self
                .seen
                .view
                .iter()
                .flat_map(|view| &view.nodes)
                .filter_map(|node| node.node.as_ref())
                .filter(|node| matches!(node.state(), NodeState::Drained | NodeState::Removed))
                .map(|n| n.disk_id.clone())
                .collect();
            let mut register = Vec::new();
            for (ordinal, pod) in &mut self.seen.pods {
                let Report::Node(status) = &mut pod.report else {
                    continue;
                };
                if gone.contains(&status.disk_id) {
                    continue;
                }
                if !status.cluster_id.is_empty() && status.lifecycle() != Lifecycle::Member {
                    status.set_lifecycle(Lifecycle::Member);
                    status.node_id = self.next_node;
                    self.next_node += 1;
                    register.push((*ordinal, status.node_id, status.disk_id.clone()));
                    self.disks.insert(*ordinal, (status.disk_id.clone(), status.cluster_id.clone()));
                }
                pod.ready = status.lifecycle() == Lifecycle::Member;
            }
            for (ordinal, id, disk) in register {
                let mut fresh = node(ordinal, NodeState::Member);
                if let Some(fresh) = fresh.node.as_mut() {
                    (fresh.node_id, fresh.disk_id) = (id, disk);
                }
                self.catalogue().push(fresh);
            }
            let running: Vec<String> = self
                .seen
                .pods
                .values()
                .filter(|pod| pod.ready)
                .filter_map(|pod| pod.node().map(|node| node.disk_id.clone()))
                .collect();
            for node in self.seen.view.iter_mut().flat_map(|view| &mut view.nodes) {
                let Some(known) = node.node.as_mut() else { continue };
                known.reachable = running.contains(&known.disk_id);
                node.caught_up = known.reachable;
                if known.state() == NodeState::Draining {
                    known.set_state(NodeState::Drained);
                    node.named_by_groups.clear();
                }
            }
        }

        fn operator(&mut self) -> Plan {
            let plan = plan(&wish(self.wish), &self.seen, at(self.now));
            if !plan.actions.is_empty() || plan.shrinks {
                self.history.push(format!("{}: size {} {:?}", self.now, plan.size, plan.actions));
            }
            self.check(&plan);
            for action in &plan.actions {
                self.carry_out(action);
            }
            let revision =
                self.seen.set.as_ref().and_then(|set| set.revision.clone()).or_else(|| Some("new".to_owned()));
            self.seen.set = Some(SetSeen { replicas: plan.size, revision });
            plan
        }

        fn check(&self, plan: &Plan) {
            let disturbing = plan.actions.iter().filter(|action| action.disturbs()).count() + usize::from(plan.shrinks);
            assert!(disturbing <= 1, "two disturbances in one pass: {plan:?}");
            if plan.shrinks {
                let named = self.seen.nodes_named(&format!("main-{}", plan.size)).count();
                assert_eq!(named, 0, "a pod was taken whose node is a member: {plan:?}");
            }
            for action in &plan.actions {
                // One that is in no group is no disruption.
                if let Action::Restart { node_id: Some(_), pod, .. } = action {
                    let others_away =
                        self.seen.pods.values().filter(|p| p.name != *pod && (!p.ready || p.terminating)).count();
                    assert_eq!(others_away, 0, "a second pod was taken: {plan:?}");
                }
            }
        }

        fn carry_out(&mut self, action: &Action) {
            match action {
                Action::Record { cluster_id, formed, nodes } => {
                    self.seen.recorded = Recorded::Identity(Identity {
                        cluster_id: cluster_id.clone().unwrap_or_else(|| ID.to_owned()),
                        formed: *formed,
                        nodes: Some(*nodes),
                    });
                }
                Action::MarkFormed { nodes } => {
                    self.record(|identity| (identity.formed, identity.nodes) = (true, Some(*nodes)))
                }
                Action::RecordNodes(nodes) => self.record(|identity| identity.nodes = Some(*nodes)),
                Action::Bootstrap { pod, .. } => {
                    self.formed += 1;
                    self.tell(pod);
                }
                Action::Join { pod, .. } => self.tell(pod),
                Action::Drain { node_id, .. } => self.set_state(*node_id, NodeState::Draining),
                Action::CancelDrain { node_id, .. } => self.set_state(*node_id, NodeState::Member),
                Action::Replace { old, .. } => self.set_state(*old, NodeState::Removed),
                Action::Restart { pod, .. } | Action::DeleteBroken { pod, .. } => {
                    self.seen.pods.retain(|_, known| known.name != *pod);
                }
                Action::Release { .. } | Action::Retain { .. } => {}
            }
        }

        fn record(&mut self, change: impl FnOnce(&mut Identity)) {
            if let Recorded::Identity(identity) = &mut self.seen.recorded {
                change(identity);
            }
        }

        fn tell(&mut self, pod: &str) {
            for (ordinal, known) in self.seen.pods.iter_mut().filter(|(_, known)| known.name == pod) {
                if let Report::Node(status) = &mut known.report {
                    status.cluster_id = ID.to_owned();
                    status.blank = false;
                    self.disks.insert(*ordinal, (status.disk_id.clone(), ID.to_owned()));
                }
            }
        }

        fn set_state(&mut self, node_id: u64, state: NodeState) {
            for node in self.catalogue().iter_mut().filter_map(|node| node.node.as_mut()) {
                if node.node_id == node_id {
                    node.set_state(state);
                    if state == NodeState::Removed {
                        node.reachable = false;
                    }
                }
            }
        }

        fn fault(&mut self, dice: &mut Dice) {
            let ordinal = i32::try_from(dice.roll(5)).expect("small");
            let kind = dice.roll(8);
            let ready = self.seen.pods.values().filter(|pod| pod.ready).count();
            self.history.push(format!("{}: wish {}, {ready} ready, fault {kind} at {ordinal}", self.now, self.wish));
            match kind {
                0 => self.wish = i32::try_from(1 + dice.roll(5)).expect("small"),
                1 => drop(self.seen.pods.remove(&ordinal)),
                // A drained volume that returns is retired by its node: a blank disk again. And one may be wiped, though
                // never so many that the majority goes.
                2 if self.formed > 0 && self.seen.pods.values().all(|pod| pod.ready) && self.seen.pods.len() >= 3 => {
                    self.seen.pods.remove(&ordinal);
                    self.disks.remove(&ordinal);
                }
                3 => {
                    if let Some(set) = self.seen.set.as_mut() {
                        set.revision = Some(format!("revision-{}", dice.roll(1000)));
                    }
                }
                4 => {
                    if let Some(set) = self.seen.set.as_mut() {
                        set.replicas = i32::try_from(dice.roll(6)).expect("small");
                    }
                }
                _ => {}
            }
        }

        fn retire(&mut self) {
            let gone: Vec<String> = self
                .seen
                .view
                .iter()
                .flat_map(|view| &view.nodes)
                .filter_map(|node| node.node.as_ref())
                .filter(|node| matches!(node.state(), NodeState::Drained | NodeState::Removed))
                .map(|n| n.disk_id.clone())
                .collect();
            let returned: Vec<i32> =
                self.disks.iter().filter(|(_, (disk, _))| gone.contains(disk)).map(|(n, _)| *n).collect();
            for ordinal in returned {
                if !self.seen.pods.contains_key(&ordinal) {
                    self.disks.remove(&ordinal);
                }
            }
        }

        fn step(&mut self) -> Plan {
            self.now += 20;
            self.retire();
            self.kubernetes();
            self.nodes();
            if !matches!(&self.seen.recorded, Recorded::Identity(identity) if identity.formed) {
                self.seen.view = None;
            }
            self.operator()
        }
    }

    #[test]
    fn random_histories_never_disturb_twice_and_always_come_to_rest() {
        for seed in 1..400 {
            let mut dice = Dice(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
            let mut world = World::new(i32::try_from(1 + dice.roll(5)).expect("small"));
            for _ in 0..60 {
                world.fault(&mut dice);
                world.step();
            }
            let mut quiet = 0;
            for _ in 0..200 {
                let plan = world.step();
                quiet = if plan.actions.is_empty() && plan.steps.is_empty() { quiet + 1 } else { 0 };
                if quiet == 3 {
                    break;
                }
            }
            let last = plan(&wish(world.wish), &world.seen, at(world.now));
            assert_eq!(quiet, 3, "seed {seed} does not come to rest: {last:?}\n{}", world.history.join("\n"));
            assert!(world.formed <= 1, "seed {seed} formed {} times", world.formed);
            assert_eq!(last.size, world.wish, "seed {seed}");
            assert_eq!(
                world.seen.nodes().count(),
                usize::try_from(world.wish).expect("small"),
                "seed {seed}: {:?}",
                world.seen.view
            );
        }
    }
}

/// Nothing is drained while the record is lost, so nothing that may hold data is taken away.
#[test]
fn the_set_never_shrinks_while_the_record_is_lost() {
    for recorded in [Recorded::Annotations(ID.to_owned()), Recorded::Conflict("two ids".to_owned())] {
        let mut seen = forming([member(0, ID), member(1, ID), member(2, ID)], recorded);
        seen.set.as_mut().unwrap().replicas = 3;
        assert_eq!(plan(&wish(1), &seen, at(1)).size, 3);
    }
}

#[test]
fn nothing_is_formed_beside_members_that_are_merely_silent() {
    let silent = |ordinal| PodSeen { report: Report::Silent("no answer".to_owned()), ..blank(ordinal) };
    for recorded in [identity(false, 1), Recorded::Annotations(ID.to_owned())] {
        let mut seen = forming([blank(0), silent(1), silent(2)], recorded);
        seen.set.as_mut().unwrap().replicas = 3;
        let found = plan(&wish(1), &seen, at(1));
        assert!(!bootstraps(&found), "{found:?}");
        assert_eq!(found.size, 3);
    }
}
