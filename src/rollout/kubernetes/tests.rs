//! What is judged from what was seen, without a cluster.

use super::progress::{Progress, Trouble, Wanted, hindrance, progress};
use super::seen::{Seen, ToolView};
use super::view::{DeploymentView, PodView, Stage};
use super::{ClusterSettings, Quota, fault};
use crate::local::testing;
use crate::status::{ExitReason, InstanceState};
use hythe_cluster::GivenUp;
use hythe_model::{InstanceId, Place, ProcessType, ReleaseNumber, Route, ToolName};
use std::sync::Arc;

mod back;

fn tool() -> ToolName {
    "weather".parse().unwrap()
}

pub(super) fn pod(release: u32, suffix: &str) -> PodView {
    let id = InstanceId {
        tool: tool(),
        release: ReleaseNumber(release),
        process: ProcessType::web(),
        place: Place::Name(suffix.to_owned()),
        attempt: 0,
    };
    PodView {
        name: format!("web-abc-{suffix}"),
        set: "web".to_owned(),
        id,
        image: None,
        address: Some("10.0.0.7".parse().unwrap()),
        ready: true,
        leaving: false,
        since: jiff::Timestamp::UNIX_EPOCH,
        stage: Stage::Running,
        last_exit: None,
        finished: None,
        last_finished: None,
        unschedulable: None,
        unstarted: None,
        has_files: false,
        given_up: None,
    }
}

fn deployment(release: u32, wanted: i32) -> DeploymentView {
    DeploymentView {
        name: "web".to_owned(),
        release: Some(ReleaseNumber(release)),
        observed: true,
        wanted,
        updated: wanted,
        present: wanted,
        available: wanted,
        refused: None,
    }
}

/// A tool whose web Deployment and pods are these; all ready pods are in the route.
fn seen(deployment: DeploymentView, pods: Vec<PodView>) -> ToolView {
    let mut view = ToolView::default();
    let routed = pods.iter().filter(|pod| pod.ready && !pod.leaving).map(|pod| pod.name.clone()).collect();
    view.slices.insert("web-1".to_owned(), routed);
    view.deployments.insert("web".to_owned(), deployment);
    view.pods.extend(pods.into_iter().map(|pod| (pod.name.clone(), Arc::new(pod))));
    view
}

fn judge(view: &ToolView) -> Progress {
    progress(view, ReleaseNumber(2), &Wanted::of(&testing::release("weather", 2, "web=1")))
}

#[test]
fn a_rollout_is_done_when_its_pods_are_available_in_the_route_and_alone() {
    assert_eq!(judge(&seen(deployment(2, 1), vec![pod(2, "new")])), Progress::Done);

    let waits = |view: ToolView, wanted: &str| {
        let Progress::Waits { what, .. } = judge(&view) else { panic!("{wanted}") };
        assert_eq!(what, wanted);
    };
    waits(ToolView::default(), "web: not seen yet");
    waits(seen(deployment(1, 1), vec![pod(1, "old")]), "web: not seen yet");
    waits(
        seen(DeploymentView { observed: false, ..deployment(2, 1) }, vec![pod(1, "old")]),
        "web: not begun",
    );
    let surge = DeploymentView { present: 2, ..deployment(2, 1) };
    waits(seen(surge, vec![pod(1, "old"), pod(2, "new")]), "web: 1 of 1 started");
    let starting = |stage: Stage| {
        let new = PodView { ready: false, stage, ..pod(2, "new") };
        seen(DeploymentView { available: 0, ..deployment(2, 1) }, vec![new])
    };
    let none = Stage::Waiting { reason: String::new(), message: String::new() };
    assert!(
        matches!(judge(&starting(none)), Progress::Waits { cluster: true, .. }),
        "the image may be on its way"
    );
    assert!(
        matches!(judge(&starting(Stage::Running)), Progress::Waits { cluster: false, .. }),
        "the tool's own time"
    );
    let mut unrouted = seen(deployment(2, 1), vec![pod(2, "new")]);
    unrouted.slices.clear();
    waits(unrouted, "web: 0 of 1 in the route");
}

#[test]
fn what_never_gets_ready_fails_at_once_and_what_may_is_waited_for() {
    let with = |change: fn(&mut PodView)| {
        let mut new = pod(2, "new");
        (new.ready, new.stage) = (false, Stage::Running);
        change(&mut new);
        seen(DeploymentView { available: 0, ..deployment(2, 1) }, vec![pod(1, "old"), new])
    };
    let waiting = |reason: &str, message: &str| Stage::Waiting {
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let fails = |view: &ToolView| matches!(judge(view), Progress::Fails(_));

    let crashed = with(|pod| pod.stage = Stage::Ended(ExitReason { code: Some(3), ..ExitReason::default() }));
    assert!(
        matches!(judge(&crashed), Progress::Fails(trouble) if matches!(*trouble, Trouble::Exited { .. }))
    );
    let again = with(|pod| pod.last_exit = Some(ExitReason { code: Some(3), ..ExitReason::default() }));
    assert!(fails(&again), "the node has started it again meanwhile");
    assert!(!fails(&with(|_| ())), "it only has not listened yet");

    let mut view = with(|_| ());
    let stage = |view: &mut ToolView, stage: Stage| {
        Arc::make_mut(view.pods.get_mut("web-abc-new").unwrap()).stage = stage;
    };
    stage(&mut view, waiting("ErrImagePull", "dial tcp: connection refused"));
    assert!(!fails(&view), "the registry may come back");
    assert_eq!(
        hindrance(&view, ReleaseNumber(2)).unwrap().to_string(),
        "ErrImagePull: dial tcp: connection refused"
    );
    stage(&mut view, waiting("ErrImagePull", "manifest: not found"));
    assert!(fails(&view));
    let slow = "failed to sync secret cache: timed out waiting for the condition";
    stage(&mut view, waiting("CreateContainerConfigError", slow));
    assert!(!fails(&view));
    stage(&mut view, waiting("CreateContainerConfigError", "secret \"config-1\" not found"));
    assert!(fails(&view));

    let refused = |message: &str| {
        let refused = Some(message.to_owned());
        seen(DeploymentView { refused, updated: 0, available: 0, ..deployment(2, 1) }, vec![])
    };
    let asked = "Internal error occurred: failed calling webhook \"a.b\": Post \"https://10.96.0.9/\": connection refused";
    let ruled = "pods \"web-1-\" is forbidden: violates PodSecurity \"restricted:latest\"";
    let denied = "admission webhook \"a.b\" denied the request: its database: connection refused";
    for message in ["pods \"web-1-\" is forbidden: exceeded quota: tool", ruled, asked, denied] {
        assert!(fails(&refused(message)), "{message}");
    }
    let early = "pods \"web-1-\" is forbidden: not yet ready to handle request";
    let away = "Post \"https://127.0.0.1:6443/api/v1/namespaces/hythe-weather/pods\": dial tcp: connect: connection refused";
    let nobody = "pods is forbidden: User \"system:serviceaccount:kube-system:replicaset-controller\" cannot create resource \"pods\"";
    for message in [early, away, nobody] {
        let view = refused(message);
        assert!(!fails(&view), "an API server that begins: {message}");
        let hindrance = hindrance(&view, ReleaseNumber(2)).unwrap().to_string();
        assert_eq!(hindrance, format!("no pod can be made yet: {message}"));
    }
}

#[test]
fn a_pod_that_its_node_gave_up_is_no_instance_and_fails_only_for_what_it_did() {
    let given_up = |reason: &str, message: &str, exit: ExitReason| PodView {
        ready: false,
        given_up: Some(GivenUp { reason: reason.to_owned(), message: message.to_owned() }),
        stage: Stage::Ended(exit),
        ..pod(2, reason)
    };
    let shut_down = || given_up("Terminated", "imminent node shutdown", ExitReason::default());
    let disk = ExitReason { disk_limit: Some(1 << 30), ..ExitReason::default() };
    let full = || given_up("Evicted", "usage exceeds the total limit", disk.clone());
    assert_eq!(judge(&seen(deployment(2, 1), vec![shut_down(), pod(2, "new")])), Progress::Done);
    let failed = judge(&seen(deployment(2, 1), vec![full(), pod(2, "new")]));
    assert!(matches!(failed, Progress::Fails(trouble) if matches!(*trouble, Trouble::Exited { .. })));

    let seen_all = Seen::new(8080);
    let view =
        ToolView { declared: true, ..seen(deployment(2, 1), vec![full(), shut_down(), pod(2, "new")]) };
    seen_all.update(&tool(), |known| *known = view.clone());
    let states: Vec<_> = seen_all.instances(&tool()).into_iter().map(|status| status.state).collect();
    assert_eq!(states, [InstanceState::Ready]);
    let starting = PodView { ready: false, ..pod(2, "new") };
    let view = ToolView { declared: true, ..seen(deployment(2, 1), vec![full(), starting]) };
    assert_eq!(route_of(view), Some(Route::Starting));
}

#[test]
fn a_process_that_cannot_be_begun_is_no_crash() {
    let unstarted = Some("error mounting: not a directory".to_owned());
    let new =
        PodView { ready: false, unstarted, stage: Stage::Ended(ExitReason::default()), ..pod(2, "new") };
    let failed = judge(&seen(DeploymentView { available: 0, ..deployment(2, 1) }, vec![new]));
    let Progress::Fails(trouble) = failed else { panic!("{failed:?}") };
    let fault = fault::of_trouble(&testing::release("weather", 2, "web=1"), *trouble).1;
    assert_eq!(fault.id, "rollout/container");
    assert!(fault.why[0].ends_with("not a directory"), "{fault}");
}

#[test]
fn a_canary_is_counted_apart_from_the_rest_of_its_release() {
    let first = PodView { set: "web-canary".to_owned(), ..pod(2, "first") };
    let mut view = seen(deployment(2, 1), vec![first, PodView { ready: false, ..pod(2, "new") }]);
    let waits = Progress::Waits { what: "web: 0 of 1 in the route".to_owned(), cluster: true };
    assert_eq!(judge(&view), waits);
    view.deployments.insert("web-canary".to_owned(), deployment(2, 1));
    let wanted = [Wanted::canary(1)];
    assert_eq!(progress(&view, ReleaseNumber(2), &wanted), Progress::Done);
}

#[test]
fn an_old_releases_crash_is_not_the_new_ones() {
    let mut old = pod(1, "old");
    (old.ready, old.last_exit) = (false, Some(ExitReason::default()));
    assert_eq!(judge(&seen(deployment(2, 1), vec![old, pod(2, "new")])), Progress::Done);
}

fn route_of(view: ToolView) -> Option<Route> {
    let seen = Seen::new(8080);
    seen.update(&tool(), |known| *known = view);
    let table = seen.routes().borrow().clone();
    table.get("weather").map(|route| Route::clone(route))
}

#[test]
fn traffic_goes_to_what_the_slices_name() {
    let declared = |view: ToolView| ToolView { declared: true, ..view };
    let live = route_of(declared(seen(deployment(2, 1), vec![pod(2, "new")])));
    assert!(
        matches!(live, Some(Route::Live { release: ReleaseNumber(2), upstreams }) if upstreams.len() == 1)
    );
    assert!(
        route_of(seen(deployment(2, 1), vec![pod(2, "new")])).is_none(),
        "the platform does not know the tool"
    );
    assert_eq!(route_of(declared(ToolView::default())), Some(Route::Empty));
    assert_eq!(route_of(declared(seen(deployment(2, 0), vec![]))), Some(Route::Empty));
    assert_eq!(route_of(declared(seen(deployment(2, 1), vec![]))), Some(Route::Starting));
    let mut behind = declared(seen(deployment(2, 1), vec![pod(2, "new")]));
    behind.slices.insert("web-1".to_owned(), vec!["web-abc-old".to_owned()]);
    let serves = route_of(behind.clone());
    assert!(
        matches!(serves, Some(Route::Live { upstreams, .. }) if upstreams.len() == 1),
        "the list of slices comes later"
    );
    behind.slices.insert("web-1".to_owned(), Vec::new());
    assert_eq!(route_of(behind), Some(Route::Starting), "nothing is to serve");
    let mut crashed = pod(2, "new");
    crashed.ready = false;
    crashed.stage = Stage::Waiting { reason: "CrashLoopBackOff".to_owned(), message: String::new() };
    crashed.last_exit = Some(ExitReason { code: Some(1), ..ExitReason::default() });
    let reason = "exit code 1".to_owned();
    assert_eq!(route_of(declared(seen(deployment(2, 1), vec![crashed]))), Some(Route::Crashed { reason }));
}

#[test]
fn what_a_new_list_does_not_show_is_gone() {
    let seen_all = Seen::new(8080);
    seen_all.update(&tool(), |known| {
        *known = ToolView { declared: true, ..seen(deployment(2, 1), vec![pod(2, "new"), pod(2, "other")]) }
    });
    let gone = seen_all.retain(ToolView::pods, |_, name| name == "web-abc-new");
    assert_eq!(gone.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["web-abc-other"]);
    assert_eq!(seen_all.instances(&tool()).len(), 1);
}

#[test]
fn instances_read_as_people_know_them() {
    let seen_all = Seen::new(8080);
    let mut leaving = pod(1, "old");
    leaving.leaving = true;
    let mut starting = pod(2, "start");
    starting.ready = false;
    let mut crashed = pod(2, "crash");
    (crashed.ready, crashed.id.attempt) = (false, 2);
    crashed.stage = Stage::Waiting { reason: "CrashLoopBackOff".to_owned(), message: String::new() };
    crashed.last_exit = Some(ExitReason { code: Some(1), ..ExitReason::default() });
    seen_all.update(&tool(), |known| {
        *known = seen(deployment(2, 3), vec![leaving, pod(2, "a"), starting, crashed]);
    });
    seen_all.update(&tool(), |known| {
        let first = PodView { set: "web-canary".to_owned(), ..pod(3, "first") };
        known.pods.insert("first".to_owned(), Arc::new(first));
    });
    let canaries = seen_all.instances(&tool()).into_iter().filter(|status| status.canary);
    assert_eq!(canaries.map(|status| status.id.to_string()).collect::<Vec<_>>(), ["weather.v3.web.first"]);
    seen_all.update(&tool(), |known| drop(known.pods.remove("first")));
    let states: Vec<_> =
        seen_all.instances(&tool()).into_iter().map(|status| (status.id.to_string(), status.state)).collect();
    assert_eq!(states[0], ("weather.v2.web.a".to_owned(), InstanceState::Ready));
    assert!(matches!(&states[1], (name, InstanceState::Crashed { .. }) if name == "weather.v2.web.crash.2"));
    assert_eq!(states[2].1, InstanceState::Starting);
    assert_eq!(states[3], ("weather.v1.web.old".to_owned(), InstanceState::Stopping));
}

#[test]
fn a_namespace_has_room_for_the_name_of_its_tool() {
    let settings = ClusterSettings {
        namespace_prefix: "tools-of-the-institute-".to_owned(),
        ..ClusterSettings::default()
    };
    let name = |letters: usize| "t".repeat(letters).parse::<ToolName>().unwrap();
    assert!(fault::expect_namespace(&settings, &name(40)).is_ok());
    let longer = ClusterSettings { namespace_prefix: "tools-of-the-institutes-".to_owned(), ..settings };
    let refused = fault::expect_namespace(&longer, &name(40)).unwrap_err();
    assert!(refused.id == "tools/name-too-long" && refused.what.contains("39 letters"), "{refused}");
    assert!(fault::expect_namespace(&longer, &name(39)).is_ok());
}

#[test]
fn a_tool_has_the_first_quota_that_names_it() {
    let pods = |pods| Quota { pods, ..Quota::default() };
    let settings = ClusterSettings {
        quotas: vec![(vec![tool()], pods(5)), (vec![tool(), "quotes".parse().unwrap()], pods(6))],
        ..ClusterSettings::default()
    };
    let of = |name: &str| settings.quota_of(&name.parse().unwrap()).pods;
    assert_eq!([of("weather"), of("quotes"), of("handbook")], [5, 6, 40]);
}

#[test]
fn a_config_that_somebody_has_removed_is_told_as_that() {
    let fault = |message: &str| {
        let reason = "CreateContainerConfigError".to_owned();
        let trouble = Trouble::Container { reason, message: message.to_owned() };
        fault::of_trouble(&testing::release("weather", 2, "web=1"), trouble).1.id
    };
    assert_eq!(fault("secret \"config-4f2a91c\" not found"), "rollout/config-missing");
    assert_eq!(fault("container has runAsNonRoot and image will run as root"), "rollout/container");
}
