//! What one build leaves for the next.

use crate::support::{World, as_hythe, layer_toml, path, web};
use hythe_model::BuildEvent;
use tokio_util::sync::CancellationToken;

/// Keeps a counter in a cached launch layer and tells what it found.
fn counting() -> String {
    let script = r#"dir="$CNB_LAYERS_DIR/deps"
echo "found: $(cat "$dir/count" 2>/dev/null || echo nothing), $(grep -c kept "$CNB_LAYERS_DIR/deps.toml" 2>/dev/null || echo 0), $(cat "$CNB_LAYERS_DIR/store.toml" 2>/dev/null | tail -1)"
mkdir -p "$dir/sub"
if [ ! -f "$dir/count" ]; then echo 1 > "$dir/count"; echo big > "$dir/sub/file"; fi
if [ -f change ]; then echo 2 > "$dir/count"; rm -f "$dir/sub/file"; echo new > "$dir/sub/other"; fi
printf '[types]\nlaunch = true\ncache = true\n[metadata]\nkept = "yes"\n' > "$CNB_LAYERS_DIR/deps.toml"
printf '[metadata]\nbuilds = 7\n' > "$CNB_LAYERS_DIR/store.toml"
if [ -f fail ]; then echo 9 > "$dir/count"; exit 3; fi
"#;
    script.to_owned()
        + &web("[\"sh\", \"-c\", \"cat /layers/test_a/deps/count; ls /layers/test_a/deps/sub\"]")
}

#[test]
fn an_unchanged_layer_is_restored_for_nothing_and_not_written_again() {
    as_hythe("cache::an_unchanged_layer_is_restored_for_nothing_and_not_written_again", || async {
        let world = World::new("unchanged").await;
        let build = counting();
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let first = world.build(&builder, world.request(1, &[("page", "x")])).await;
        assert!(first.has("first build") && first.has("found: nothing, 0,"), "{:#?}", first.log);
        let before = world.helper.list_dir(&path("caches/weather")).await.unwrap();
        let mut request = world.request(2, &[("page", "x")]);
        request.previous = Some(first.image().digest.clone());
        let second = world.build(&builder, request).await;
        assert!(second.has("found: 1, 1, builds = 7"), "{:#?}", second.log);
        assert_eq!(second.image().digest, first.image().digest);
        assert_eq!(second.image().new_layers, 0);
        assert_eq!(world.helper.list_dir(&path("caches/weather")).await.unwrap(), before, "the slice stays");
        world.end().await;
    });
}

#[test]
fn a_changed_layer_replaces_the_old_one_deletions_included() {
    as_hythe("cache::a_changed_layer_replaces_the_old_one_deletions_included", || async {
        let world = World::new("changed").await;
        let build = counting();
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let first = world.build(&builder, world.request(1, &[("page", "x")])).await;
        assert_eq!(world.run(&first.image().digest, &[]).await.1, "1\nfile\n");
        let mut previous = first.image().digest.clone();
        // Twice, so that what was changed is itself restored.
        for (id, files) in [(2, [("change", "")]), (3, [("page", "y")])] {
            let mut request = world.request(id, &files);
            request.previous = Some(previous);
            let next = world.build(&builder, request).await;
            assert_eq!(world.run(&next.image().digest, &[]).await.1, "2\nother\n", "{:#?}", next.log);
            previous = next.image().digest.clone();
        }
        world.end().await;
    });
}

/// Says in the tool's index that its only known layer was written as another one.
async fn mislead(world: &World, image: &hythe_model::PublishedImage) -> hythe_oci::Digest {
    let (manifest, config) = world.documents(&image.digest);
    let (blob, diff_id) = (manifest.layers[0].clone(), config.rootfs.diff_ids[0].clone());
    let file = path("caches/weather/index.json");
    let mut index: serde_json::Value =
        serde_json::from_slice(&world.helper.read(&file, 1 << 20).await.unwrap()).unwrap();
    assert_eq!(index["known"].as_array().unwrap().len(), 1);
    let other = hythe_oci::LayerDescriptor { diff_id: diff_id.clone(), blob };
    index["known"][0]["written"] = serde_json::to_value(other).unwrap();
    world.helper.write(&file, serde_json::to_vec(&index).unwrap(), (0, 0), 0o600).await.unwrap();
    diff_id
}

#[test]
fn an_unchanged_layer_is_known_without_reading_it() {
    as_hythe("cache::an_unchanged_layer_is_known_without_reading_it", || async {
        let world = World::new("unread").await;
        let build = counting();
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        // New, then changed, each followed by a build that must trust what is known of the layer, right or wrong.
        let mut id = 0;
        for files in [[("page", "x")], [("change", "")]] {
            id += 2;
            let made = world.build(&builder, world.request(id, &files)).await;
            let wrong = mislead(&world, made.image()).await;
            let next = world.build(&builder, world.request(id + 1, &[("page", "x")])).await;
            let (_, config) = world.documents(&next.image().digest);
            assert_eq!(config.rootfs.diff_ids[2], wrong, "the layer was written again");
        }
        // A change that leaves size and times as they were does not go unseen.
        let touch = "cp -p \"$CNB_LAYERS_DIR/deps/count\" /tmp/c; printf '7\\n' > \"$CNB_LAYERS_DIR/deps/count\"; touch -r /tmp/c \"$CNB_LAYERS_DIR/deps/count\"\n";
        let changing = build.clone() + touch;
        let builder = world.builder(&["a"], &[("a", "exit 0", &changing)]).await;
        let last = world.build(&builder, world.request(9, &[("page", "x")])).await;
        assert_eq!(world.run(&last.image().digest, &[]).await.1, "7\nother\n");
        world.end().await;
    });
}

#[test]
fn a_failed_build_leaves_the_cache_as_it_was() {
    as_hythe("cache::a_failed_build_leaves_the_cache_as_it_was", || async {
        let world = World::new("failed").await;
        let build = counting();
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        world.build(&builder, world.request(1, &[("page", "x")])).await.image();
        let failed = world.build(&builder, world.request(2, &[("fail", "")])).await;
        assert_eq!(failed.fault().id, "build/buildpack-failed");
        let third = world.build(&builder, world.request(3, &[("page", "x")])).await;
        assert!(third.has("found: 1, 1,"), "{:#?}", third.log);
        world.end().await;
    });
}

#[test]
fn each_reason_for_an_unused_cache_is_told() {
    as_hythe("cache::each_reason_for_an_unused_cache_is_told", || async {
        let world = World::new("reasons").await;
        let build = counting();
        let buildpacks = [("a", "exit 0", build.as_str())];
        let builder = world.builder(&["a"], &buildpacks).await;
        let first = world.build(&builder, world.request(1, &[("page", "x")])).await;
        let mut request = world.request(2, &[("page", "x")]);
        (request.no_cache, request.previous) = (true, Some(first.image().digest.clone()));
        let fresh = world.build(&builder, request).await;
        assert!(fresh.has("no-cache") && fresh.has("found: nothing, 0, builds = 7"), "{:#?}", fresh.log);
        let builder = world.builder_on("2", &["a"], &buildpacks).await.unwrap();
        let mut request = world.request(3, &[("page", "x")]);
        request.previous = Some(first.image().digest.clone());
        let moved = world.build(&builder, request).await;
        assert!(moved.has("stack has changed") && moved.has("found: nothing, 0,"), "{:#?}", moved.log);
        world.end().await;
    });
}

#[test]
fn a_launch_layer_without_a_folder_is_the_previous_images() {
    as_hythe("cache::a_launch_layer_without_a_folder_is_the_previous_images", || async {
        let world = World::new("reuse").await;
        let build = r#"if grep -q made "$CNB_LAYERS_DIR/deps.toml" 2>/dev/null; then echo reusing; else
mkdir "$CNB_LAYERS_DIR/deps"; echo first > "$CNB_LAYERS_DIR/deps/file"; fi
printf '[types]\nlaunch = true\n[metadata]\nmade = true\n' > "$CNB_LAYERS_DIR/deps.toml"
"#
        .to_owned()
            + &web("[\"cat\", \"/layers/test_a/deps/file\"]");
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let first = world.build(&builder, world.request(1, &[("page", "x")])).await;
        let mut request = world.request(2, &[("page", "y")]);
        request.previous = Some(first.image().digest.clone());
        let second = world.build(&builder, request).await;
        assert!(second.has("reusing"), "{:#?}", second.log);
        assert_eq!(second.image().new_layers, 1, "the app alone");
        assert_eq!(world.run(&second.image().digest, &[]).await, (Some(0), "first\n".to_owned()));
        world.end().await;
    });
}

#[test]
fn what_cannot_be_reused_is_a_fault() {
    as_hythe("cache::what_cannot_be_reused_is_a_fault", || async {
        let world = World::new("nothing").await;
        for (id, types) in [(1, "launch"), (2, "launch cache")] {
            let build = layer_toml("deps", types) + &web("[\"true\"]");
            let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
            let ended = world.build(&builder, world.request(id, &[("page", "x")])).await;
            assert_eq!(ended.fault().id, "export/nothing-to-reuse", "{types}");
        }
        world.end().await;
    });
}

#[test]
fn a_buildpack_that_no_longer_applies_loses_its_cache_and_a_tool_its_own() {
    as_hythe("cache::a_buildpack_that_no_longer_applies_loses_its_cache_and_a_tool_its_own", || async {
        let world = World::new("dropped").await;
        let keep = |text: &str| {
            format!("mkdir -p \"$CNB_LAYERS_DIR/l\"; echo {text} > \"$CNB_LAYERS_DIR/l/f\"\n")
                + &layer_toml("l", "cache")
        };
        let (a, b) = (keep("a"), keep("b") + "ls /layers\n" + &web("[\"true\"]"));
        let builder =
            world.builder(&["a? b"], &[("a", "test -f a || exit 100", &a), ("b", "exit 0", &b)]).await;
        world.build(&builder, world.request(1, &[("a", "")])).await.image();
        assert_eq!(world.helper.list_dir(&path("caches/weather")).await.unwrap().len(), 3);
        world.build(&builder, world.request(2, &[("b", "")])).await.image();
        assert_eq!(world.helper.list_dir(&path("caches/weather")).await.unwrap().len(), 2);
        builder.forget(&crate::support::tool()).await.unwrap();
        assert!(!world.helper.exists(&path("caches/weather")).await.unwrap());
        world.end().await;
    });
}

#[test]
fn a_cache_that_cannot_be_read_costs_itself_and_no_build() {
    as_hythe("cache::a_cache_that_cannot_be_read_costs_itself_and_no_build", || async {
        let world = World::new("unreadable").await;
        let build = counting();
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        world.build(&builder, world.request(1, &[("page", "x")])).await.image();
        // A slice that is gone, then an index that is no index.
        let names = world.helper.list_dir(&path("caches/weather")).await.unwrap();
        let slice = names.iter().find(|name| *name != "index.json").unwrap();
        world.helper.remove(&path(&format!("caches/weather/{slice}"))).await.unwrap();
        for id in [2, 4] {
            let next = world.build(&builder, world.request(id, &[("page", "x")])).await;
            assert!(
                next.has("not used: it cannot be read") && next.has("found: nothing, 0,"),
                "{:#?}",
                next.log
            );
            assert_eq!(world.run(&next.image().digest, &[]).await.1, "1\nfile\n");
            let after = world.build(&builder, world.request(id + 1, &[("page", "x")])).await;
            assert!(after.has("found: 1, 1,"), "{:#?}", after.log);
            world.helper.write(&path("caches/weather/index.json"), "{", (0, 0), 0o600).await.unwrap();
        }
        builder.forget(&crate::support::tool()).await.unwrap();
        world.end().await;
    });
}

/// Lets the tool's index look as if an earlier start of the machine had written it.
async fn power_cut(world: &World) {
    let file = path("caches/weather/index.json");
    let text = String::from_utf8(world.helper.read(&file, 1 << 20).await.unwrap()).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&text).unwrap();
    index["boot"] = "another".into();
    world.helper.write(&file, index.to_string(), (0, 0), 0o600).await.unwrap();
}

#[test]
fn a_cache_that_did_not_reach_the_disk_is_not_used_after_a_power_cut() {
    as_hythe("cache::a_cache_that_did_not_reach_the_disk_is_not_used_after_a_power_cut", || async {
        let world = World::new("power").await;
        let build = counting();
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        world.build(&builder, world.request(1, &[("page", "x")])).await.image();
        power_cut(&world).await;
        let second = world.build(&builder, world.request(2, &[("page", "x")])).await;
        let said = second.has("not used: the machine stopped before it was on the disk");
        assert!(said && second.has("found: nothing, 0, builds = 7"), "{:#?}", second.log);
        // A later build does not take its mark from an earlier one; its own comes after the sync.
        let mark = path("caches/weather.synced");
        let stamp = async || world.helper.read(&mark, 100).await.unwrap_or_default();
        while !stamp().await.starts_with(b"2-") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        power_cut(&world).await;
        let third = world.build(&builder, world.request(3, &[("page", "x")])).await;
        assert!(third.has("found: 1, 1,"), "{:#?}", third.log);
        builder.forget(&crate::support::tool()).await.unwrap();
        world.end().await;
    });
}

#[test]
fn the_largest_layers_are_not_kept_where_the_cache_is_full() {
    as_hythe("cache::the_largest_layers_are_not_kept_where_the_cache_is_full", || async {
        let mut world = World::new("full").await;
        world.limits.cache_bytes = 1 << 20;
        let keep = |name: &str, size: u32| {
            let file = format!("$CNB_LAYERS_DIR/{name}/f");
            format!(
                "[ -f \"{file}\" ] && echo found {name}; mkdir -p \"$CNB_LAYERS_DIR/{name}\"; head -c {size} /dev/zero > \"{file}\"\n"
            ) + &layer_toml(name, "cache")
        };
        let build = keep("small", 300_000) + &keep("large", 3_000_000) + &web("[\"true\"]");
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let first = world.build(&builder, world.request(1, &[("page", "x")])).await;
        let said = "test/a/large is not kept: it takes 3.0 MB, and a tool's cache has room for 1.0 MB";
        assert!(first.has(said) && !first.has("small is not kept"), "{:#?}", first.log);
        let second = world.build(&builder, world.request(2, &[("page", "x")])).await;
        assert!(second.has("found small") && !second.has("found large"), "{:#?}", second.log);
        world.end().await;
    });
}

#[test]
fn builds_of_one_tool_wait_for_each_other() {
    as_hythe("cache::builds_of_one_tool_wait_for_each_other", || async {
        let world = World::new("turns").await;
        let build = "echo begin; sleep 1; echo end\n".to_owned() + &web("[\"true\"]");
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let seen = std::sync::Mutex::new(Vec::new());
        let sink = |event: BuildEvent| {
            if let BuildEvent::Output { line, .. } = event {
                seen.lock().unwrap().push(line);
            }
        };
        let requests = [1, 2].map(|id| world.request(id, &[("page", "x")]));
        let both = requests.map(|request| builder.build(request, &sink, CancellationToken::new()));
        let [one, two] = both;
        let (one, two) = tokio::join!(one, two);
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(*seen.lock().unwrap(), ["begin", "end", "begin", "end"]);
        world.end().await;
    });
}
