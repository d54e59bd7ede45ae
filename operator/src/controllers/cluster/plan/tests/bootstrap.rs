//! Forming and adopting a Cluster.

use super::*;

fn forming(pods: impl IntoIterator<Item = PodObservation>, recorded: Recorded) -> Observation {
    let pods: BTreeMap<i32, PodObservation> = pods
        .into_iter()
        .map(|pod| (crate::resources::names::ordinal("main", &pod.name).expect("a pod of main"), pod))
        .collect();
    Observation {
        recorded,
        set: Some(SetObservation {
            replicas: i32::try_from(pods.len()).expect("few"),
            revision: Some("new".to_owned()),
        }),
        pods,
        ..Observation::default()
    }
}

fn bootstraps(plan: &Plan) -> bool {
    plan.actions.iter().any(|action| matches!(action, Action::Bootstrap { .. }))
}

#[test]
fn nothing_is_formed_before_every_expected_pod_has_reported() {
    let mut silent = blank(2);
    silent.node = NodeObservation::Silent("no answer".to_owned());
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
    if let NodeObservation::Status(status) = &mut opening.node {
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
fn pods_that_never_ran_are_made_anew_from_a_corrected_template() {
    let stuck = |ordinal, revision: &str| PodObservation {
        running: false,
        ready: false,
        revision: revision.to_owned(),
        node: NodeObservation::Silent("the process does not run yet".to_owned()),
        problem: Some(PodProblem { reason: Reason::Unschedulable, message: format!("main-{ordinal}: no node") }),
        ..blank(ordinal)
    };
    for recorded in [Recorded::Nowhere, identity(false, 2), Recorded::Annotations(ID.to_owned())] {
        let same = plan(&wish(2), &forming([blank(0), stuck(1, "new")], recorded.clone()), at(1));
        assert!(same.actions.is_empty(), "the template is as it was: {same:?}");
        let observation = forming([blank(0), stuck(1, "old")], recorded);
        let corrected = plan(&wish(2), &observation, at(1));
        assert_eq!(corrected.actions, [Action::DeleteBroken { pod: "main-1".to_owned(), uid: "uid-1".to_owned() }]);
        assert!(plan(&Wish { paused: true, ..wish(2) }, &observation, at(1)).actions.is_empty());
        assert!(plan(&Wish { deleting: true, ..wish(2) }, &observation, at(1)).actions.is_empty());
    }
}

#[test]
fn a_formed_cluster_never_bootstraps_again() {
    let mut observation = forming((0..3).map(blank), identity(true, 3));
    let lost = plan(&wish(3), &observation, at(1));
    assert!(lost.actions.is_empty(), "{lost:?}");
    assert_eq!(lost.stalled.map(|s| s.0), Some(Reason::NodeLost));
    observation.pods.insert(0, member(0, ID));
    let joined = plan(&wish(3), &observation, at(1));
    assert!(!bootstraps(&joined));
    let joins = joined.actions.iter().filter(|action| matches!(action, Action::Join { .. })).count();
    assert_eq!(joins, 2);
}

#[test]
fn a_bootstrap_whose_answer_was_lost_is_taken_up() {
    let observation = forming([member(0, ID), blank(1), blank(2)], identity(false, 3));
    let plan = plan(&wish(3), &observation, at(1));
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

/// Nothing is drained while the record is lost, so nothing that may hold data is taken away.
#[test]
fn the_set_never_shrinks_while_the_record_is_lost() {
    for recorded in
        [Recorded::Annotations(ID.to_owned()), Recorded::Conflict(Reason::ForeignVolumes, "two ids".to_owned())]
    {
        let mut observation = forming([member(0, ID), member(1, ID), member(2, ID)], recorded);
        observation.set.as_mut().unwrap().replicas = 3;
        assert_eq!(plan(&wish(1), &observation, at(1)).size, 3);
    }
}

#[test]
fn nothing_is_formed_beside_members_that_are_merely_silent() {
    let silent = |ordinal| PodObservation { node: NodeObservation::Silent("no answer".to_owned()), ..blank(ordinal) };
    for recorded in [identity(false, 1), Recorded::Annotations(ID.to_owned())] {
        let mut observation = forming([blank(0), silent(1), silent(2)], recorded);
        observation.set.as_mut().unwrap().replicas = 3;
        let found = plan(&wish(1), &observation, at(1));
        assert!(!bootstraps(&found), "{found:?}");
        assert_eq!(found.size, 3);
    }
}
