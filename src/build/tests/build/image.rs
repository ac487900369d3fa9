//! What a build publishes.

use crate::support::{World, as_hythe, layer_toml, web};
use hythe_cnb::labels::{
    BUILD_METADATA, BuildMetadata, LIFECYCLE_METADATA, LifecycleMetadata, PROJECT_METADATA,
};

fn deps() -> String {
    let script = r#"mkdir -p "$CNB_LAYERS_DIR/deps/bin" "$CNB_LAYERS_DIR/deps/env.launch"
printf '#!/bin/sh\necho "served by $(id -u) in $(pwd): $(cat page) $GREETING $STACK"\n' > "$CNB_LAYERS_DIR/deps/bin/serve"
chmod 755 "$CNB_LAYERS_DIR/deps/bin/serve"
printf hello > "$CNB_LAYERS_DIR/deps/env.launch/GREETING"
mkdir "$CNB_LAYERS_DIR/tools"; echo secret > "$CNB_LAYERS_DIR/tools/build-only"
"#;
    script.to_owned() + &layer_toml("deps", "launch") + &layer_toml("tools", "build") + &web("[\"serve\"]")
}

#[test]
fn the_image_is_as_the_specification_says_and_runs() {
    as_hythe("image::the_image_is_as_the_specification_says_and_runs", || async {
        let world = World::new("whole").await;
        let build = deps();
        let builder = world.builder(&["a"], &[("a", "test -f page && echo page", &build)]).await;
        let ended = world.build(&builder, world.request(1, &[("page", "sunny")])).await;
        let image = ended.image();
        println!("{:#?}", ended.log);
        assert!(ended.has("test/a (page)") && ended.has("layers new"), "{:#?}", ended.log);
        assert_eq!(image.repository, "tools/weather");
        assert_eq!(image.processes[0].command, "serve");

        let (manifest, config) = world.documents(&image.digest);
        assert_eq!(config.config.entrypoint, ["/cnb/process/web"]);
        assert!(config.config.cmd.is_empty());
        assert_eq!(config.config.working_dir, "/workspace");
        assert_eq!(config.env("PATH"), Some("/cnb/process:/cnb/lifecycle:/usr/bin:/bin"));
        assert_eq!(config.env("CNB_APP_DIR"), Some("/workspace"));
        // Two of the run image, then deps, app, launcher, config, process types.
        assert_eq!(manifest.layers.len(), 7);
        let label = |name: &str| config.config.labels[name].clone();
        let lifecycle: LifecycleMetadata = serde_json::from_str(&label(LIFECYCLE_METADATA)).unwrap();
        let diff_ids: Vec<String> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
        let deps = &lifecycle.buildpacks[0].layers[&"deps".parse().unwrap()];
        let named = [
            &lifecycle.run_image.top_layer,
            &deps.sha,
            &lifecycle.app[0].sha,
            &lifecycle.launcher.sha,
            &lifecycle.config.sha,
            &lifecycle.process_types.sha,
        ];
        assert_eq!(
            named.map(String::as_str),
            diff_ids[1..].iter().map(String::as_str).collect::<Vec<_>>()[..]
        );
        let made: BuildMetadata = serde_json::from_str(&label(BUILD_METADATA)).unwrap();
        assert_eq!((made.buildpacks.len(), made.processes.len()), (1, 1));
        assert!(label(PROJECT_METADATA).contains("0123456789012345678901234567890123456789"));

        let (code, text) = world.run(&image.digest, &[]).await;
        assert_eq!((code, text.trim()), (Some(0), "served by 1001 in /workspace: sunny hello"));
        let (_, text) = world.run(&image.digest, &["ignored"]).await;
        assert!(text.starts_with("served by"), "{text}");
        world.end().await;
    });
}

#[test]
fn equal_inputs_make_equal_bytes() {
    as_hythe("image::equal_inputs_make_equal_bytes", || async {
        let world = World::new("equal").await;
        let build = deps();
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let mut digests = Vec::new();
        for id in 1..=2 {
            let mut request = world.request(id, &[("page", "sunny"), ("b/c", "x")]);
            request.no_cache = true;
            digests.push(world.build(&builder, request).await.image().digest.clone());
        }
        assert_eq!(digests[0], digests[1]);
        world.end().await;
    });
}

#[test]
fn slices_labels_and_later_buildpacks_have_their_say() {
    as_hythe("image::slices_labels_and_later_buildpacks_have_their_say", || async {
        let world = World::new("slices").await;
        let a = web("[\"old\"]")
            + "printf '[[labels]]\\nkey = \"who\"\\nvalue = \"a\"\\n[[labels]]\\nkey = \"io.buildpacks.x\"\\nvalue = \"a\"\\n[[slices]]\\npaths = [\"static/*\"]\\n' >> \"$CNB_LAYERS_DIR/launch.toml\"";
        let b = web("[\"cat\", \"static/a.css\", \"page\"]")
            + "printf '[[labels]]\\nkey = \"who\"\\nvalue = \"b\"\\n' >> \"$CNB_LAYERS_DIR/launch.toml\"";
        let builder = world.builder(&["a b"], &[("a", "exit 0", &a), ("b", "exit 0", &b)]).await;
        let files = [("page", "sunny"), ("static/a.css", "red "), ("static/deep/b.css", "blue")];
        let ended = world.build(&builder, world.request(1, &files)).await;
        let (manifest, config) = world.documents(&ended.image().digest);
        assert_eq!(manifest.layers.len(), 2 + 2 + 3, "one slice, the rest of the app, the platform's three");
        assert_eq!(config.config.labels["who"], "b");
        assert!(!config.config.labels.contains_key("io.buildpacks.x"), "the platform's labels are its own");
        assert_eq!(world.run(&ended.image().digest, &[]).await, (Some(0), "red sunny".to_owned()));
        // Another page leaves the slice's layer as it was.
        let mut request = world.request(2, &[("page", "windy"), files[1], files[2]]);
        request.previous = Some(ended.image().digest.clone());
        let again = world.build(&builder, request).await;
        assert_eq!(again.image().new_layers, 1, "{:#?}", again.log);
        world.end().await;
    });
}

#[test]
fn bills_of_materials_are_a_layer_of_their_own() {
    as_hythe("image::bills_of_materials_are_a_layer_of_their_own", || async {
        let world = World::new("sbom").await;
        let build = deps()
            + "printf '{\"of\":\"deps\"}' > \"$CNB_LAYERS_DIR/deps.sbom.cdx.json\"\n\
               printf '{\"of\":\"all\"}' > \"$CNB_LAYERS_DIR/launch.sbom.spdx.json\"\n\
               printf '{\"of\":\"tools\"}' > \"$CNB_LAYERS_DIR/tools.sbom.syft.json\"\n\
               printf '[[processes]]\\ntype = \"show\"\\ncommand = [\"find\", \"/layers/sbom\", \"-type\", \"f\", \"-exec\", \"cat\", \"{}\", \";\"]\\ndefault = true\\n' > \"$CNB_LAYERS_DIR/launch.toml\"";
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let ended = world.build(&builder, world.request(1, &[("page", "sunny")])).await;
        let (manifest, config) = world.documents(&ended.image().digest);
        assert_eq!(manifest.layers.len(), 8);
        let label = &config.config.labels[LIFECYCLE_METADATA];
        let lifecycle: LifecycleMetadata = serde_json::from_str(label).unwrap();
        assert_eq!(lifecycle.sbom.unwrap().sha, config.rootfs.diff_ids[3].to_string());
        assert_eq!(config.config.entrypoint, ["/cnb/process/show"]);
        let (_, text) = world.run(&ended.image().digest, &[]).await;
        assert!(text.contains("deps") && text.contains("all") && !text.contains("tools"), "{text}");
        world.end().await;
    });
}

#[test]
fn without_a_web_process_the_launcher_is_the_entrypoint() {
    as_hythe("image::without_a_web_process_the_launcher_is_the_entrypoint", || async {
        let world = World::new("worker").await;
        let build = web("[\"true\"]").replace("web", "worker");
        let builder = world.builder(&["a"], &[("a", "exit 0", &build)]).await;
        let ended = world.build(&builder, world.request(1, &[("page", "sunny")])).await;
        let (_, config) = world.documents(&ended.image().digest);
        assert_eq!(config.config.entrypoint, ["/cnb/lifecycle/launcher"]);
        let (code, text) = world.run(&ended.image().digest, &["--", "cat", "page"]).await;
        assert_eq!((code, text.as_str()), (Some(0), "sunny"));
        world.end().await;
    });
}
