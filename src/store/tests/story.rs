//! The story: an account, a tool, keys, tokens, a build, a release, config, and the end of it all.

use super::*;
use ReleaseState::{Failed, Live, Superseded};
use jiff::{SignedDuration, Timestamp};

on_both!(the_story_of_a_tool);

async fn the_story_of_a_tool(bed: Bed) {
    let store = bed.open().await;
    people_and_tools(&store).await;
    keys(&store).await;
    tokens(&store).await;
    let build = a_build(&store).await;
    releases(&store, build).await;
    config(&store).await;
    the_end(&store).await;
}

async fn people_and_tools(store: &Store) {
    let made = store.create_maintainer(&ann(), true).await.unwrap();
    assert_eq!(store.maintainer(&ann()).await.unwrap().as_ref(), Some(&made));
    assert!(matches!(store.create_maintainer(&ann(), false).await, Err(StoreError::Exists { .. })));
    assert_eq!(store.maintainers().await.unwrap(), [made]);

    let bob: MaintainerName = "bob".parse().unwrap();
    assert!(is_absent(&store.create_tool(&tool("weather"), Some(&bob)).await), "an owner must exist");
    assert_eq!(store.tools().await.unwrap(), [], "and nothing was left behind");
    let made = store.create_tool(&tool("weather"), Some(&ann())).await.unwrap();
    assert_eq!(made.settings.deploy_branches, ["main", "master"]);
    assert_eq!(made.deployed, None);
    assert!(matches!(store.create_tool(&tool("weather"), None).await, Err(StoreError::Exists { .. })));
    let mark = store.tools_mark().await.unwrap();
    store.create_tool(&tool("quotes"), None).await.unwrap();
    assert!(mark != store.tools_mark().await.unwrap() && mark.0 == 1);
    let names: Vec<_> = store.tools().await.unwrap().into_iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["quotes", "weather"]);
    assert_eq!(store.tools_of(&ann()).await.unwrap(), [made]);

    assert_eq!(store.role(&tool("weather"), &ann()).await.unwrap(), Some(Role::Owner));
    assert_eq!(store.role(&tool("quotes"), &ann()).await.unwrap(), None);
    assert_eq!(store.role(&tool("nothing"), &ann()).await.unwrap(), None);
    store.create_maintainer(&bob, false).await.unwrap();
    store.set_member(&tool("weather"), &bob, Role::Member).await.unwrap();
    store.set_member(&tool("weather"), &bob, Role::Owner).await.unwrap();
    let members = store.members(&tool("weather")).await.unwrap();
    assert_eq!(members.iter().map(|m| m.role).collect::<Vec<_>>(), [Role::Owner, Role::Owner]);
    store.remove_member(&tool("weather"), &bob).await.unwrap();
    assert!(is_absent(&store.remove_member(&tool("weather"), &bob).await));

    let settings = ToolSettings { health_path: Some("/healthz".to_owned()), ..ToolSettings::default() };
    store.set_tool_settings(&tool("weather"), &settings).await.unwrap();
    assert_eq!(store.tool(&tool("weather")).await.unwrap().unwrap().settings, settings);
    assert!(is_absent(&store.set_tool_settings(&tool("nothing"), &settings).await));
}

async fn keys(store: &Store) {
    let new = |owner: &KeyOwner, fingerprint: &str| NewKey {
        owner: owner.clone(),
        fingerprint: fingerprint.to_owned(),
        algorithm: "ssh-ed25519".to_owned(),
        openssh: "ssh-ed25519 AAAA".to_owned(),
        title: "laptop".to_owned(),
    };
    let mine = KeyOwner::Maintainer(ann());
    let deploy = KeyOwner::Deploy(tool("weather"));
    let laptop = store.add_key(new(&mine, "SHA256:laptop")).await.unwrap();
    let ci = store.add_key(new(&deploy, "SHA256:ci")).await.unwrap();
    assert!(matches!(store.add_key(new(&deploy, "SHA256:laptop")).await, Err(StoreError::Exists { .. })));
    assert!(is_absent(&store.add_key(new(&KeyOwner::Deploy(tool("nothing")), "SHA256:x")).await));
    assert_eq!(store.keys(&mine).await.unwrap(), std::slice::from_ref(&laptop));
    assert_eq!(store.keys(&deploy).await.unwrap(), std::slice::from_ref(&ci));
    assert_eq!(store.key("SHA256:ci").await.unwrap().unwrap().owner, deploy);
    assert_eq!(store.key("SHA256:stranger").await.unwrap(), None);
    store.touch_key("SHA256:laptop").await.unwrap();
    assert!(store.key("SHA256:laptop").await.unwrap().unwrap().last_used_at.is_some());
    assert!(is_absent(&store.remove_key(&mine, "SHA256:ci").await), "another owner's key");
    store.remove_key(&mine, "SHA256:laptop").await.unwrap();
    assert_eq!(store.keys(&mine).await.unwrap(), []);
}

async fn tokens(store: &Store) {
    let new = |hash: u8, expires_at| NewToken {
        maintainer: ann(),
        name: "ci".to_owned(),
        hash: [hash; 32],
        expires_at,
    };
    let ever = store.create_token(new(1, None)).await.unwrap();
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    let expired = store.create_token(new(2, Some(past))).await.unwrap();
    let soon = Timestamp::now() + SignedDuration::from_secs(60);
    store.create_token(new(3, Some(soon))).await.unwrap();
    assert!(matches!(store.create_token(new(1, None)).await, Err(StoreError::Exists { .. })));
    assert_eq!(store.token(&[1; 32]).await.unwrap().as_ref(), Some(&ever));
    assert_eq!(store.token(&[2; 32]).await.unwrap(), None, "expired");
    assert!(store.token(&[3; 32]).await.unwrap().is_some());
    assert_eq!(store.token(&[9; 32]).await.unwrap(), None);
    assert_eq!(store.tokens(&ann()).await.unwrap().len(), 3, "expired ones are listed");
    store.touch_token(ever.id).await.unwrap();
    assert!(store.token(&[1; 32]).await.unwrap().unwrap().last_used_at.is_some());
    let bob = "bob".parse().unwrap();
    assert!(is_absent(&store.revoke_token(&bob, ever.id).await), "another's token");
    store.revoke_token(&ann(), ever.id).await.unwrap();
    store.revoke_token(&ann(), expired.id).await.unwrap();
    assert_eq!(store.token(&[1; 32]).await.unwrap(), None);
}

async fn a_build(store: &Store) -> BuildId {
    assert!(is_absent(&store.enqueue_build(new_build("nothing")).await));
    let queued = store.enqueue_build(new_build("weather")).await.unwrap();
    assert_eq!((queued.state, queued.tool.as_str()), (BuildState::Queued, "weather"));
    assert_eq!(queued.old, Some(commit('9')));
    assert_eq!(queued.options.message.as_deref(), Some("Fix wind"));
    assert_eq!(queued.source, new_build("weather").source);
    assert!(is_conflict(&store.set_build_image(queued.id, &image()).await), "it does not run yet");

    let claimed = claim(store).await.unwrap();
    assert_eq!((claimed.id, claimed.state), (queued.id, BuildState::Running));
    assert_eq!(claim(store).await, None);
    assert!(store.requeue_build(queued.id).await.unwrap(), "as after a restart");
    assert!(!store.requeue_build(queued.id).await.unwrap());
    assert!(store.start_build(queued.id, "test", LONG).await.unwrap());
    store.set_build_image(queued.id, &image()).await.unwrap();
    let unfinished = store.unfinished_builds().await.unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].image, Some(image()));

    let cancelled = store.enqueue_build(new_build("quotes")).await.unwrap();
    let outcome = BuildOutcome::Cancelled(fault());
    assert!(store.finish_build(cancelled.id, outcome.clone()).await.unwrap());
    assert!(!store.finish_build(cancelled.id, BuildOutcome::Succeeded).await.unwrap(), "an end is an end");
    let ended = store.build(cancelled.id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.fault), (BuildState::Cancelled, Some(fault())));
    assert!(ended.state.is_finished() && ended.ended_at.is_some());
    assert!(is_conflict(&store.create_release(new_release("quotes", Some(cancelled.id))).await));
    assert_eq!(store.releases(&tool("quotes"), 10).await.unwrap(), [], "nothing was written");
    queued.id
}

async fn releases(store: &Store, build: BuildId) {
    let weather = tool("weather");
    let first = store.create_release(new_release("weather", Some(build))).await.unwrap();
    assert_eq!((first.number, first.state), (ReleaseNumber(1), ReleaseState::RollingOut));
    assert_eq!(store.build(build).await.unwrap().unwrap().release, Some(first.number));
    assert_eq!(store.live_release(&weather).await.unwrap(), None);
    assert_eq!(store.releases_rolling_out().await.unwrap(), std::slice::from_ref(&first));

    let done = store.activate(&weather, first.number, None, &deployed('a')).await.unwrap();
    assert_eq!((done.release.state, done.superseded), (ReleaseState::Live, None));
    assert_eq!(store.build(build).await.unwrap().unwrap().state, BuildState::Succeeded);
    assert_eq!(store.tool(&weather).await.unwrap().unwrap().deployed, Some(deployed('a')));
    assert!(is_conflict(&store.activate(&weather, first.number, Some(first.number), &deployed('a')).await));

    let second = store.create_release(new_release("weather", None)).await.unwrap();
    assert!(store.fail_release(&weather, second.number, &BuildOutcome::Failed(fault())).await.unwrap());
    assert!(!store.fail_release(&weather, second.number, &BuildOutcome::Failed(fault())).await.unwrap());
    assert_eq!(store.release(&weather, second.number).await.unwrap().unwrap().fault, Some(fault()));
    assert!(is_conflict(&store.activate(&weather, second.number, Some(first.number), &deployed('b')).await));
    assert_eq!(
        store.live_release(&weather).await.unwrap().map(|r| r.number),
        Some(first.number),
        "all or nothing"
    );

    let third = store.create_release(new_release("weather", None)).await.unwrap();
    let stale = store.activate(&weather, third.number, None, &deployed('c')).await;
    assert_eq!(stale.unwrap_err().to_string(), "v1 of weather is live, not no release");
    let done = store.activate(&weather, third.number, Some(first.number), &deployed('c')).await.unwrap();
    assert_eq!(done.superseded, Some(first.number));
    let states: Vec<_> =
        store.releases(&weather, 10).await.unwrap().into_iter().map(|r| (r.number.0, r.state)).collect();
    assert_eq!(states, [(3, Live), (2, Failed), (1, Superseded)]);
    assert_eq!(store.releases(&weather, 1).await.unwrap().len(), 1);
    assert_eq!(store.live_releases().await.unwrap(), [done.release]);
    assert_eq!(store.releases_rolling_out().await.unwrap(), []);
    retention(store, build).await;
}

/// v1 is superseded, v2 failed, v3 is live; now v4 rolls out with an image of its own.
async fn retention(store: &Store, build: BuildId) {
    let fourth = NewRelease { image: Digest::sha256([4; 32]), ..new_release("weather", None) };
    let fourth = store.create_release(fourth).await.unwrap();
    let kept = async |per_tool| {
        let kept = store.retained_releases(per_tool).await.unwrap();
        kept.into_iter().map(|release| release.image).collect::<Vec<_>>()
    };
    let old = image().digest;
    assert_eq!(kept(0).await.len(), 2, "live and rolling out");
    let of = async |name| store.retained_releases_of(&tool(name), 3).await.unwrap().len();
    assert_eq!((of("weather").await, of("quotes").await), (3, 0), "of one tool");
    assert_eq!(kept(1).await.len(), 2);
    assert_eq!(kept(3).await.len(), 3, "the failed one does not count");
    assert!(kept(0).await.contains(&fourth.image) && kept(0).await.contains(&old));
    store.fail_release(&tool("weather"), fourth.number, &BuildOutcome::Failed(fault())).await.unwrap();
    assert_eq!(kept(10).await, [old.clone(), old]);
    let of_quotes = store.last_build().await.unwrap().unwrap();
    assert!(of_quotes > build);
    assert_eq!(store.newest_builds(1).await.unwrap(), [build, of_quotes].into(), "one of each tool");
    assert_eq!(store.newest_builds(0).await.unwrap(), [].into());
}

async fn config(store: &Store) {
    let weather = tool("weather");
    let set = |key: &str, byte: u8, scope| {
        ConfigEdit::Set(ConfigValue { key: key.to_owned(), sealed: vec![byte], scope })
    };
    let actor = Actor::Maintainer(ann());
    assert_eq!(store.latest_config(&weather).await.unwrap(), 0);
    assert_eq!(store.config(&weather, 0).await.unwrap(), []);
    let edits = vec![set("B", 1, ConfigScope::Run), set("A", 2, ConfigScope::Both)];
    assert_eq!(store.change_config(&weather, 0, edits, &actor).await.unwrap(), 1);
    let edits = vec![ConfigEdit::Unset("B".to_owned()), set("A", 3, ConfigScope::Build)];
    assert_eq!(store.change_config(&weather, 1, edits, &actor).await.unwrap(), 2);
    let keys: Vec<_> = store.config(&weather, 1).await.unwrap().into_iter().map(|v| v.key).collect();
    assert_eq!(keys, ["A", "B"], "a version never changes");
    let second = store.config(&weather, 2).await.unwrap();
    assert_eq!(second, [ConfigValue { key: "A".to_owned(), sealed: vec![3], scope: ConfigScope::Build }]);
    let missing = vec![ConfigEdit::Unset("B".to_owned())];
    assert!(is_absent(&store.change_config(&weather, 2, missing, &actor).await));
    assert_eq!(store.latest_config(&weather).await.unwrap(), 2, "a refused change takes no number");
    assert!(is_absent(&store.config(&weather, 7).await));
    let after_rollback = store.change_config(&weather, 1, vec![set("C", 4, ConfigScope::Run)], &actor).await;
    assert_eq!(after_rollback.unwrap(), 3, "from the version that is live, under the next number");

    let mut sealed = store.sealed_values().await.unwrap();
    assert_eq!(sealed.len(), 6);
    for value in &mut sealed {
        value.sealed.push(0xff);
    }
    store.reseal(sealed).await.unwrap();
    assert_eq!(store.config(&weather, 2).await.unwrap()[0].sealed, [3, 0xff]);
}

async fn the_end(store: &Store) {
    let weather = tool("weather");
    store.delete_tool(&weather).await.unwrap();
    assert!(is_absent(&store.delete_tool(&weather).await));
    assert_eq!(store.key("SHA256:ci").await.unwrap(), None);
    assert_eq!(store.sealed_values().await.unwrap(), []);
    assert_eq!(store.live_releases().await.unwrap(), []);
    store.create_tool(&weather, None).await.unwrap();
    assert_eq!(store.members(&weather).await.unwrap(), [], "a new tool of an old name inherits nothing");
    let first = store.create_release(new_release("weather", None)).await.unwrap();
    assert_eq!(first.number, ReleaseNumber(1));
    let build = store.enqueue_build(new_build("weather")).await.unwrap();
    assert!(build.id.0 > 2, "build numbers are never used twice");
    store.remove_maintainer(&ann()).await.unwrap();
    assert!(is_absent(&store.remove_maintainer(&ann()).await));
    assert_eq!(store.token(&[3; 32]).await.unwrap(), None);
}
