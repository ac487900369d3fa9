//! Builds that fail, each in its own words; builds that are ended.

use crate::support::{World, as_hythe, layer_toml, path, web};
use hythe_model::{BuildEvent, BuildId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[test]
fn nothing_that_matches_says_what_was_looked_for() {
    as_hythe("faults::nothing_that_matches_says_what_was_looked_for", || async {
        let world = World::new("nomatch").await;
        let detect = |what: &str| format!("echo no {what}; exit 100");
        let (a, b) = (detect("requirements.txt"), detect("package.json"));
        let builder = world.builder(&["a", "b"], &[("a", &a, ""), ("b", &b, "")]).await;
        let ended = world.build(&builder, world.request(1, &[("page", "x")])).await;
        let fault = ended.fault();
        assert_eq!(fault.id, "detect/nothing-matches");
        assert!(
            fault.why[0].contains("no requirements.txt") && fault.why[1].contains("no package.json"),
            "{fault}"
        );
        world.end().await;
    });
}

#[test]
fn failing_buildpacks_speak_for_themselves() {
    as_hythe("faults::failing_buildpacks_speak_for_themselves", || async {
        let world = World::new("failing").await;
        let cases = [
            ("exit 7", "exit 0", "detect/failed", "code 7"),
            ("exit 0", "echo last words; exit 7", "build/buildpack-failed", "last words"),
            (
                "exit 0",
                r#"echo '::hythe-fault::{"id":"a/own","what":"Own words.","why":["because"]}'; exit 1"#,
                "a/own",
                "because",
            ),
            (
                "exit 0",
                "echo '[[processes]]' > \"$CNB_LAYERS_DIR/launch.toml\"",
                "build/buildpack-invalid",
                "launch.toml",
            ),
        ];
        for (id, (detect, build, fault, words)) in (1..).zip(cases) {
            let builder = world.builder(&["a"], &[("a", detect, build)]).await;
            let ended = world.build(&builder, world.request(id, &[("page", "x")])).await;
            assert_eq!(ended.fault().id, fault, "{}", ended.fault());
            assert!(ended.fault().to_string().contains(words), "{}", ended.fault());
        }
        world.end().await;
    });
}

#[test]
fn an_api_that_is_not_run_is_told_at_once() {
    as_hythe("faults::an_api_that_is_not_run_is_told_at_once", || async {
        let world = World::new("api").await;
        world.builder(&["a"], &[("a", "exit 0", "exit 0")]).await;
        let toml = world.folder.join("share/a/buildpack.toml");
        let text = std::fs::read_to_string(&toml).unwrap().replace("0.12", "0.5");
        std::fs::write(&toml, text).unwrap();
        let fault = world.open("1").await.err().expect("the builder does not open");
        assert!(fault.to_string().contains("a buildpack of this API"), "{fault}");
        world.end().await;
    });
}

#[test]
fn every_limit_has_its_fault() {
    as_hythe("faults::every_limit_has_its_fault", || async {
        let mut world = World::new("limits").await;
        world.limits.memory_bytes = 48 << 20;
        world.limits.disk_bytes = 40 << 20;
        world.limits.output_bytes = 1 << 20;
        world.limits.wall = Duration::from_secs(6);
        let cases = [
            ("cat /dev/zero | tail", "build/out-of-memory"),
            ("while :; do cat /bin/busybox >> \"$CNB_LAYERS_DIR/fill\"; done", "build/disk-full"),
            ("yes gigabytes", "build/too-much-output"),
            ("sleep 1000", "build/too-long"),
        ];
        for (id, (script, fault)) in (1..).zip(cases) {
            let builder = world.builder(&["a"], &[("a", "exit 0", script)]).await;
            let ended = world.build(&builder, world.request(id, &[("page", "x")])).await;
            assert_eq!(ended.fault().id, fault, "{script}: {}", ended.fault());
        }
        world.end().await;
    });
}

#[test]
fn cancelling_ends_a_build_within_two_seconds() {
    as_hythe("faults::cancelling_ends_a_build_within_two_seconds", || async {
        let world = World::new("cancel").await;
        let script = "trap '' TERM INT; echo started; while :; do sleep 0.1; done";
        let builder = world.builder(&["a"], &[("a", "exit 0", script)]).await;
        let cancel = CancellationToken::new();
        let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
        let sink = |event: BuildEvent| {
            if matches!(&event, BuildEvent::Output { line, .. } if line == "started") {
                started.send(()).unwrap();
            }
        };
        let request = world.request(1, &[("page", "x")]);
        let build = builder.build(request, &sink, cancel.clone());
        let end = async {
            starts.recv().await.unwrap();
            cancel.cancel();
            Instant::now()
        };
        let (result, asked) = tokio::join!(build, end);
        assert_eq!(result.unwrap_err().id, "build/cancelled");
        println!("ended after {:?}", asked.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert!(!world.helper.exists(&path("builds/1")).await.unwrap());
        assert!(world.helper.list().await.unwrap().is_empty());
        world.end().await;
    });
}

/// Leaves a launch layer with a file of this size that takes no room.
fn sparse(size: &str) -> String {
    format!(
        "mkdir \"$CNB_LAYERS_DIR/big\"; dd if=/dev/zero of=\"$CNB_LAYERS_DIR/big/f\" bs=1 count=0 seek={size} 2>/dev/null\n"
    ) + &layer_toml("big", "launch")
        + &web("[\"true\"]")
}

#[test]
fn cancelling_ends_an_export_within_two_seconds() {
    as_hythe("faults::cancelling_ends_an_export_within_two_seconds", || async {
        let world = World::new("cancelexport").await;
        let builder = world.builder(&["a"], &[("a", "exit 0", &sparse("11G"))]).await;
        let cancel = CancellationToken::new();
        let (exporting, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let sink = |event: BuildEvent| {
            if matches!(&event, BuildEvent::Note { text, .. } if text.contains("done")) {
                exporting.send(()).unwrap();
            }
        };
        let build = builder.build(world.request(1, &[("page", "x")]), &sink, cancel.clone());
        let end = async {
            begun.recv().await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            cancel.cancel();
            Instant::now()
        };
        let (result, asked) = tokio::join!(build, end);
        assert_eq!(result.unwrap_err().id, "build/cancelled");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let uploads = std::fs::read_dir(world.folder.join("registry/uploads")).unwrap().count();
        assert_eq!(uploads, 0, "an upload stays behind");
        world.end().await;
    });
}

#[test]
fn what_is_too_large_for_an_image_is_told_before_it_is_read() {
    as_hythe("faults::what_is_too_large_for_an_image_is_told_before_it_is_read", || async {
        let mut world = World::new("toolarge").await;
        world.limits.disk_bytes = 30 << 20;
        world.limits.cache_bytes = 0;
        let names = "head -c 9000000 /dev/urandom > a; for n in b c d e f; do ln a $n; done\n".to_owned()
            + &web("[\"true\"]");
        for (id, script) in [(1, sparse("900G")), (2, names)] {
            let builder = world.builder(&["a"], &[("a", "exit 0", &script)]).await;
            let ended = world.build(&builder, world.request(id, &[("page", "x")])).await;
            assert_eq!(ended.fault().id, "export/too-large", "{}", ended.fault());
        }
        world.end().await;
    });
}

#[test]
fn more_layers_than_a_runtime_mounts_are_told() {
    as_hythe("faults::more_layers_than_a_runtime_mounts_are_told", || async {
        let world = World::new("toomany").await;
        let slices = web("[\"true\"]")
            + "i=0; while [ $i -lt 101 ]; do printf '[[slices]]\\npaths = [\"a%s\"]\\n' $i >> \"$CNB_LAYERS_DIR/launch.toml\"; i=$((i+1)); done\n";
        let layers = web("[\"true\"]")
            + "i=0; while [ $i -lt 120 ]; do mkdir \"$CNB_LAYERS_DIR/l$i\"; printf '[types]\\nlaunch = true\\n' > \"$CNB_LAYERS_DIR/l$i.toml\"; i=$((i+1)); done\n";
        for (id, script, words) in [(1, slices, "101 slices"), (2, layers, "127 layers")] {
            let builder = world.builder(&["a"], &[("a", "exit 0", &script)]).await;
            let ended = world.build(&builder, world.request(id, &[("page", "x")])).await;
            assert_eq!(ended.fault().id, "export/too-many-layers", "{}", ended.fault());
            assert!(ended.fault().to_string().contains(words), "{}", ended.fault());
        }
        world.end().await;
    });
}

#[test]
fn a_build_cancelled_before_it_begins_does_nothing() {
    as_hythe("faults::a_build_cancelled_before_it_begins_does_nothing", || async {
        let world = World::new("early").await;
        let build = web("[\"true\"]");
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let cancel = CancellationToken::new();
        cancel.cancel();
        let ended = world.build_until(&builder, world.request(1, &[("page", "x")]), cancel).await;
        assert_eq!(ended.fault().id, "build/cancelled");
        world.end().await;
    });
}

#[test]
fn a_crashs_leftovers_are_swept() {
    as_hythe("faults::a_crashs_leftovers_are_swept", || async {
        let world = World::new("sweep").await;
        let builder = world.builder(&["a"], &[("a", "exit 0", "echo started; sleep 1000")]).await;
        let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
        let request = world.request(1, &[("page", "x")]);
        let task = tokio::spawn({
            let builder = builder.clone();
            async move {
                let sink = move |event: BuildEvent| {
                    if matches!(&event, BuildEvent::Output { line, .. } if line == "started") {
                        started.send(()).unwrap();
                    }
                };
                builder.build(request, &sink, CancellationToken::new()).await
            }
        });
        starts.recv().await.unwrap();
        task.abort();
        let _ = task.await;
        assert_eq!(world.helper.list().await.unwrap().len(), 1, "the helper outlives who asked it");
        builder.sweep(Arc::new(|build| build == BuildId(1))).await.unwrap();
        assert_eq!(world.helper.list().await.unwrap().len(), 1, "it may be building");
        assert_eq!(world.helper.list_dir(&path("builds")).await.unwrap(), ["1"]);
        builder.sweep(Arc::new(|_| false)).await.unwrap();
        assert!(world.helper.list().await.unwrap().is_empty());
        assert!(world.helper.list_dir(&path("builds")).await.unwrap().is_empty());
        world.end().await;
    });
}
