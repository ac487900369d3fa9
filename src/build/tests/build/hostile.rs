//! Buildpacks that lie, climb and forge: what comes out of the sandbox is not believed.

use crate::support::{World, as_hythe, layer_toml, web};

#[test]
fn links_in_the_layers_lead_to_no_file_of_the_server() {
    as_hythe("hostile::links_in_the_layers_lead_to_no_file_of_the_server", || async {
        let world = World::new("links").await;
        let secret = world.folder.join("secret");
        std::fs::create_dir(&secret).unwrap();
        std::fs::write(secret.join("key"), "0f8c-of-the-server").unwrap();
        let folder = world.folder.display().to_string();
        // The buildpack's own folder becomes a link when everything was said: the background process waits for that.
        let swap = format!(
            "mkdir \"$CNB_LAYERS_DIR/secret\"; {} {} \
             (sleep 0.05; while ! mv \"$CNB_LAYERS_DIR\" /layers/away 2>/dev/null; do :; done; ln -s {folder} /layers/test_a) >/dev/null 2>&1 &\n",
            layer_toml("secret", "launch"),
            web("[\"true\"]")
        );
        let direct = format!(
            "ln -s {folder}/secret \"$CNB_LAYERS_DIR/secret\"; {}{}",
            layer_toml("secret", "launch"),
            web("[\"true\"]")
        );
        for (id, script) in [(1, &direct), (2, &swap)] {
            let builder = world.builder(&["a"], &[("a", "exit 0", script)]).await;
            let ended = world.build(&builder, world.request(id, &[("page", "x")])).await;
            if let Ok(image) = &ended.result {
                let (code, text) = world.run(&image.digest, &[]).await;
                assert_eq!((code, text.as_str()), (Some(0), ""));
                let (manifest, _) = world.documents(&image.digest);
                for layer in manifest.layers {
                    let file = world.content.open_blob(&layer.digest).unwrap();
                    let text = std::process::Command::new("zcat").stdin(file).output().unwrap().stdout;
                    assert!(
                        !String::from_utf8_lossy(&text).contains("0f8c-of-the-server"),
                        "a file of the server is in the image"
                    );
                }
            } else {
                println!("{}", ended.fault());
            }
        }
        world.end().await;
    });
}

#[test]
fn a_forged_outcome_is_not_published() {
    as_hythe("hostile::a_forged_outcome_is_not_published", || async {
        let mut world = World::new("forged").await;
        world.limits.wall = std::time::Duration::from_secs(4);
        // Whatever runs as the lifecycle's user can write to its output; here nothing follows but the end of the time.
        let outcome = |layer: &str| {
            format!(
                r#"{{"kind":"done","outcome":{{"buildpacks":[{{"id":"test/a","version":"1","api":"0.12","layers":{{"{layer}":{{"types":{{"build":false,"launch":true,"cache":true}},"metadata":{{}},"present":true}}}}}}],"processes":[],"default":null,"slices":[],"labels":[]}}}}"#
            )
        };
        for (id, text) in
            [(1, outcome("deps")), (2, outcome("../../../../etc")), (3, "{\"kind\":\"x\"}".to_owned())]
        {
            let script = format!("echo begun; printf '%s\\n' '{text}' > /proc/1/fd/1; sleep 1000");
            let builder = world.builder(&["a"], &[("a", "exit 0", &script)]).await;
            let ended = world.build(&builder, world.request(id, &[("page", "x")])).await;
            assert_eq!(ended.fault().id, "build/too-long", "{}", ended.fault());
            assert!(ended.has("begun"));
        }
        // And where the lifecycle goes on, its own word is the last.
        let script = format!("printf '%s\\n' '{}' > /proc/1/fd/1\n{}", outcome("deps"), web("[\"true\"]"));
        let builder = world.builder(&["a"], &[("a", "exit 0", &script)]).await;
        let ended = world.build(&builder, world.request(4, &[("page", "x")])).await;
        assert_eq!(ended.image().processes[0].command, "true");
        world.end().await;
    });
}

#[test]
fn output_cannot_paint_the_screen_and_the_environment_holds_no_secret_of_the_server() {
    as_hythe(
        "hostile::output_cannot_paint_the_screen_and_the_environment_holds_no_secret_of_the_server",
        || async {
            let world = World::new("paint").await;
            let script = "printf '\\033[2J\\033]0;title\\007red\\n'; env; ls -la /proc/1/fd; ls / /cnb; cat /proc/1/environ | tr '\\0' '\\n'\n"
                .to_owned()
                + &web("[\"true\"]");
            let builder = world.builder(&["a"], &[("a", "exit 0", &script)]).await;
            let mut request = world.request(1, &[("page", "x")]);
            request.env.insert("API_TOKEN".into(), "for-builds".into());
            let ended = world.build(&builder, request).await;
            ended.image();
            println!("{:#?}", ended.log);
            assert!(ended.has("API_TOKEN=for-builds"));
            assert!(ended.log.iter().all(|line| !line.contains(['\u{1b}', '\u{7}'])));
            assert!(!ended.has("HYTHE_PREFIX") && !ended.has("HYTHE_"), "the server's environment shows");
            let (manifest, config) = world.documents(&ended.image().digest);
            assert!(config.env("API_TOKEN").is_none());
            for layer in manifest.layers {
                let file = world.content.open_blob(&layer.digest).unwrap();
                let text = std::process::Command::new("zcat").stdin(file).output().unwrap().stdout;
                assert!(
                    !String::from_utf8_lossy(&text).contains("for-builds"),
                    "a build-time value is in a layer"
                );
            }
            world.end().await;
        },
    );
}

#[test]
fn orphans_of_a_build_do_not_stay_as_zombies() {
    as_hythe("hostile::orphans_of_a_build_do_not_stay_as_zombies", || async {
        let world = World::new("orphans").await;
        let script = "for i in 1 2 3 4 5; do (sleep 0.1 &); done; sleep 1\n\
            echo \"zombies: $(cat /proc/[0-9]*/status 2>/dev/null | grep -c 'State:.*zombie')\"\n"
            .to_owned()
            + &web("[\"true\"]");
        let builder = world.builder(&["a"], &[("a", "exit 0", &script)]).await;
        let ended = world.build(&builder, world.request(1, &[("page", "x")])).await;
        assert!(ended.has("zombies: 0"), "{:#?}", ended.log);
        world.end().await;
    });
}
