//! Runs the real lifecycle over shell buildpacks in a folder of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use hythe_cnb::protocol::{Failure, Message, Outcome, Request, Restore, RestoreLayer};
use hythe_cnb::{BuildpackId, Group, GroupElement, LayerName};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct World {
    root: tempfile::TempDir,
    request: Request,
}

fn id(id: &str) -> BuildpackId {
    id.parse().unwrap()
}

impl World {
    fn new(order: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["app", "layers", "platform", "tmp"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        let element = |word: &str| GroupElement {
            id: id(word.trim_end_matches('?')),
            version: None,
            optional: word.ends_with('?'),
        };
        let group = |text: &&str| Group { elements: text.split(' ').map(element).collect() };
        let request = Request {
            app_dir: root.path().join("app"),
            layers_dir: root.path().join("layers"),
            platform_dir: root.path().join("platform"),
            buildpacks: Vec::new(),
            order: order.iter().map(group).collect(),
            target: hythe_cnb::buildpack::Target { os: Some("linux".into()), ..Default::default() },
            exec_env: "production".into(),
            platform_env: BTreeMap::new(),
            build_config_env: BTreeMap::new(),
            restore: BTreeMap::new(),
        };
        Self { root, request }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn buildpack(&mut self, name: &str, detect: &str, build: &str) {
        self.buildpack_with(name, "0.12", "", detect, build);
    }

    fn buildpack_with(&mut self, name: &str, api: &str, head: &str, detect: &str, build: &str) {
        let dir = self.path("buildpacks").join(name);
        fs::create_dir_all(dir.join("bin")).unwrap();
        let toml = format!("api = \"{api}\"\n[buildpack]\nid = \"{name}\"\nversion = \"1\"\n{head}\n");
        fs::write(dir.join("buildpack.toml"), toml).unwrap();
        for (program, script) in [("detect", detect), ("build", build)] {
            let path = dir.join("bin").join(program);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        self.request.buildpacks.push(dir);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hythe-lifecycle"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/home/cnb").env("HIDDEN", "1");
        command.env("TMPDIR", self.path("tmp")).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn run(&self) -> Vec<Message> {
        let mut child = self.command().spawn().unwrap();
        let request = serde_json::to_vec(&self.request).unwrap();
        child.stdin.take().unwrap().write_all(&request).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let messages: Vec<Message> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            output.status.success(),
            matches!(messages.last(), Some(Message::Done { .. })),
            "{messages:?}"
        );
        assert_eq!(fs::read_dir(self.path("tmp")).unwrap().count(), 0, "nothing stays behind");
        messages
    }

    fn outcome(&self) -> (Outcome, Vec<String>) {
        let mut messages = self.run();
        let Some(Message::Done { outcome }) = messages.pop() else { panic!("{messages:?}") };
        (outcome, output(&messages))
    }

    fn failure(&self) -> Failure {
        match self.run().pop() {
            Some(Message::Failed { failure }) => failure,
            other => panic!("{other:?}"),
        }
    }
}

fn output(messages: &[Message]) -> Vec<String> {
    let line = |message: &Message| match message {
        Message::Output { buildpack, line } => Some(format!("{buildpack}: {line}")),
        _ => None,
    };
    messages.iter().filter_map(line).collect()
}

#[test]
fn messages_come_in_order_and_the_outcome_is_whole() {
    let mut world = World::new(&["a"]);
    world.buildpack(
        "a",
        "echo found it",
        r#"mkdir -p "$CNB_LAYERS_DIR/deps/bin" "$CNB_LAYERS_DIR/none"
printf '[types]\nlaunch = true\ncache = true\n[metadata]\nsum = "x"\n' > "$CNB_LAYERS_DIR/deps.toml"
printf '[types]\nlaunch = true\n' > "$CNB_LAYERS_DIR/reused.toml"
printf '[metadata]\nx = 1\n' > "$CNB_LAYERS_DIR/none.toml"
printf '{}' > "$CNB_LAYERS_DIR/deps.sbom.cdx.json"
printf '[[processes]]\ntype = "web"\ncommand = ["serve"]\ndefault = true\n[[labels]]\nkey = "k"\nvalue = "v"\n' > "$CNB_LAYERS_DIR/launch.toml"
printf '[metadata]\nseen = 3\n' > "$CNB_LAYERS_DIR/store.toml"
echo working; echo '::hythe-time::{"tool":"pip","millis":12}'; echo loudly >&2"#,
    );
    let messages = world.run();
    assert!(
        matches!(&messages[0], Message::Detected { buildpacks, .. } if buildpacks[0].said == ["found it"])
    );
    assert!(matches!(&messages[1], Message::Started { .. }));
    assert_eq!(output(&messages), ["a: working", "a: loudly"]);
    let Message::Finished { told, .. } = &messages[4] else { panic!("{messages:?}") };
    assert_eq!((told[0].tool.as_str(), told[0].millis), ("pip", 12));
    let Some(Message::Done { outcome }) = messages.last() else { panic!("{messages:?}") };
    let built = &outcome.buildpacks[0];
    assert_eq!(built.layers.keys().map(LayerName::as_str).collect::<Vec<_>>(), ["deps", "reused"]);
    let deps = &built.layers[&"deps".parse().unwrap()];
    assert!(deps.present && deps.types.cache && deps.sboms.len() == 1);
    assert!(!built.layers[&"reused".parse().unwrap()].present);
    assert!(built.store.is_some());
    assert_eq!((outcome.processes.len(), outcome.labels.len()), (1, 1));
    assert_eq!(outcome.default.as_ref().unwrap().as_str(), "web");
}

#[test]
fn with_two_paths_the_request_is_a_file_and_so_is_the_outcome() {
    let mut world = World::new(&["a"]);
    world.buildpack("a", "true", "echo working");
    let (request, outcome) = (world.path("request.json"), world.path("outcome.json"));
    let run = || world.command().arg(&request).arg(&outcome).output().unwrap();
    let said = |text: &[u8]| -> Vec<Message> {
        String::from_utf8_lossy(text).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    fs::write(&request, serde_json::to_vec(&world.request).unwrap()).unwrap();
    let ran = run();
    assert!(ran.status.success());
    assert!(matches!(said(&ran.stdout).last(), Some(Message::Finished { .. })), "the outcome is no line");
    let left: Message = serde_json::from_slice(&fs::read(&outcome).unwrap()).unwrap();
    assert!(matches!(left, Message::Done { outcome } if outcome.buildpacks.len() == 1));

    fs::remove_file(&request).unwrap();
    let ran = run();
    assert!(!ran.status.success());
    let failed = said(&ran.stdout).pop();
    assert!(matches!(failed, Some(Message::Failed { failure: Failure::Setup { .. } })), "{failed:?}");
}

#[test]
fn buildpacks_see_what_the_specification_says_and_nothing_else() {
    let mut world = World::new(&["a b"]);
    world.request.platform_env =
        BTreeMap::from([("TOKEN".into(), "t".into()), ("PATH".into(), "/mine".into())]);
    world.request.build_config_env =
        BTreeMap::from([("SSL_CERT_FILE".into(), "/ca".into()), ("TOKEN".into(), "operator".into())]);
    world.buildpack(
        "a",
        "exit 0",
        r#"mkdir -p "$CNB_LAYERS_DIR/l/bin" "$CNB_LAYERS_DIR/l/env" "$CNB_LAYERS_DIR/l/env.build" "$CNB_LAYERS_DIR/l/env.launch"
echo '[types]
build = true' > "$CNB_LAYERS_DIR/l.toml"
printf x > "$CNB_LAYERS_DIR/l/env/X"; printf y > "$CNB_LAYERS_DIR/l/env.build/X.append"
printf z > "$CNB_LAYERS_DIR/l/env.launch/X.append"
mkdir -p "$CNB_LAYERS_DIR/m/bin"; echo '[types]
launch = true' > "$CNB_LAYERS_DIR/m.toml""#,
    );
    world.buildpack(
        "b",
        "exit 0",
        "env | sort; pwd; cat \"$CNB_PLATFORM_DIR/env/TOKEN\"; echo; echo \"$1 $2 $3\"",
    );
    let (_, lines) = world.outcome();
    let root = world.root.path().display().to_string();
    let seen: Vec<String> = lines.iter().map(|line| line.replace("b: ", "").replace(&root, "")).collect();
    let has = |line: &str| assert!(seen.iter().any(|seen| seen == line), "{line} in {seen:#?}");
    has("X=xy");
    has("TOKEN=t");
    has("SSL_CERT_FILE=/ca");
    has("PATH=/mine:/layers/a/l/bin:/usr/bin:/bin");
    has("HOME=/home/cnb");
    has("CNB_EXEC_ENV=production");
    has("CNB_TARGET_OS=linux");
    has("CNB_LAYERS_DIR=/layers/b");
    has("CNB_BUILDPACK_DIR=/buildpacks/b");
    has("/app");
    has("t");
    assert!(!seen.iter().any(|line| line.starts_with("HIDDEN") || line.starts_with("TMPDIR")), "{seen:#?}");
    assert!(seen.last().unwrap().starts_with("/layers/b /platform /tmp/"), "{seen:#?}");
}

#[test]
fn clear_env_hides_the_platform_but_not_the_operators_part() {
    let mut world = World::new(&["a"]);
    world.request.platform_env = BTreeMap::from([("TOKEN".into(), "t".into())]);
    world.request.build_config_env = BTreeMap::from([("SSL_CERT_FILE".into(), "/ca".into())]);
    world.buildpack_with(
        "a",
        "0.10",
        "clear-env = true",
        "exit 0",
        "echo \"[$TOKEN] $SSL_CERT_FILE [$CNB_EXEC_ENV]\"",
    );
    assert_eq!(world.outcome().1, ["a: [] /ca []"]);
}

#[test]
fn plans_reach_their_provider_and_unmet_entries_the_next() {
    let mut world = World::new(&["a b c"]);
    let provide = "printf 'provides = [{ name = \"x\" }, { name = \"y\" }]' > \"$CNB_BUILD_PLAN_PATH\"";
    world.buildpack("a", provide, "grep name \"$CNB_BP_PLAN_PATH\"; printf '[[unmet]]\\nname = \"y\"\\n' > \"$CNB_LAYERS_DIR/build.toml\"");
    world.buildpack("b", provide, "grep name \"$CNB_BP_PLAN_PATH\"");
    let require =
        "printf '[[requires]]\\nname = \"x\"\\n[[requires]]\\nname = \"y\"\\n' > \"$CNB_BUILD_PLAN_PATH\"";
    world.buildpack("c", require, "cat \"$CNB_BP_PLAN_PATH\"");
    let (_, lines) = world.outcome();
    assert_eq!(lines, ["a: name = \"x\"", "a: name = \"y\"", "b: name = \"y\"", "c: entries = []"]);
}

#[test]
fn what_was_restored_is_there_for_detected_buildpacks_alone() {
    let mut world = World::new(&["a"]);
    world.buildpack("a", "exit 0", "cd \"$CNB_LAYERS_DIR\"; cat deps.toml; ls; cat store.toml");
    let layer = RestoreLayer {
        metadata: toml::from_str("sum = \"old\"").unwrap(),
        sboms: BTreeMap::from([(hythe_cnb::output::SbomFormat::CycloneDx, "{}".into())]),
    };
    let store = hythe_cnb::output::StoreToml { metadata: toml::from_str("n = 1").unwrap() };
    let restore = Restore { store: Some(store), layers: BTreeMap::from([("deps".parse().unwrap(), layer)]) };
    world.request.restore = BTreeMap::from([(id("a"), restore.clone()), (id("b"), restore)]);
    let (outcome, lines) = world.outcome();
    let expected = [
        "[metadata]",
        "sum = \"old\"",
        "deps.sbom.cdx.json",
        "deps.toml",
        "store.toml",
        "[metadata]",
        "n = 1",
    ];
    assert_eq!(lines, expected.map(|line| format!("a: {line}")));
    assert!(
        outcome.buildpacks[0].layers.is_empty(),
        "a restored layer is for nothing until the buildpack says so"
    );
    assert!(!world.path("layers/b").exists());
}

#[test]
fn the_failing_buildpack_is_named_with_its_fault_and_last_lines() {
    let mut world = World::new(&["a b"]);
    world.buildpack("a", "exit 0", "exit 0");
    world.buildpack(
        "b",
        "exit 0",
        "echo one; echo '::hythe-fault::{\"id\":\"b/x\",\"what\":\"W.\"}'; exit 9",
    );
    let Failure::Build { buildpack, code, fault, tail, .. } = world.failure() else { panic!() };
    assert_eq!((buildpack.as_str(), code, tail), ("b", Some(9), vec!["one".to_owned()]));
    assert_eq!(fault.unwrap().id, "b/x");
}

#[test]
fn nothing_that_matches_says_what_each_looked_for() {
    let mut world = World::new(&["a", "b"]);
    world.buildpack("a", "echo no a.txt; exit 100", "");
    world.buildpack("b", "echo no b.txt; exit 100", "");
    let Failure::NothingMatches { looked } = world.failure() else { panic!() };
    assert_eq!(looked.iter().map(|one| one.said[0].as_str()).collect::<Vec<_>>(), ["no a.txt", "no b.txt"]);
}

#[test]
fn a_broken_detect_is_told_with_its_words() {
    let mut world = World::new(&["a"]);
    world.buildpack("a", "echo oops; exit 2", "");
    let Failure::DetectBroken { broken } = world.failure() else { panic!() };
    assert_eq!((broken[0].reason.as_str(), broken[0].tail[0].as_str()), ("it exited with code 2", "oops"));
}

#[test]
fn the_detects_of_a_group_run_side_by_side() {
    // Each waits for the file of the other: one after the other they would never end.
    let mut world = World::new(&["a b"]);
    let wait = |own: &str, other: &str| {
        format!(
            "touch {own}; i=0; until [ -e {other} ]; do i=$((i+1)); [ $i -gt 200 ] && exit 1; sleep 0.05; done"
        )
    };
    world.buildpack("a", &wait("1", "2"), "");
    world.buildpack("b", &wait("2", "1"), "");
    assert_eq!(world.outcome().0.buildpacks.len(), 2);
}

#[test]
fn an_api_that_is_not_run_is_a_clear_failure() {
    let mut world = World::new(&["a"]);
    world.buildpack_with("a", "0.9", "", "", "");
    let Failure::Buildpack { buildpack, reason } = world.failure() else { panic!() };
    assert_eq!(buildpack, "a");
    assert!(reason.contains("`0.9`"), "{reason}");
}

#[test]
fn files_that_break_the_rules_name_themselves() {
    for (script, part) in [
        ("echo '[[processes]]' > \"$CNB_LAYERS_DIR/launch.toml\"", "launch.toml"),
        ("echo '[[unmet]]\nname = \"q\"' > \"$CNB_LAYERS_DIR/build.toml\"", "`q`"),
        ("echo '{' > \"$CNB_LAYERS_DIR/l.toml\"", "l.toml"),
        ("mkfifo \"$CNB_LAYERS_DIR/l.toml\"", "not a regular file"),
        ("head -c 2000000 /dev/zero > \"$CNB_LAYERS_DIR/l.toml\"", "larger than"),
    ] {
        let mut world = World::new(&["a"]);
        world.buildpack("a", "exit 0", script);
        let Failure::Buildpack { reason, .. } = world.failure() else { panic!("{script}") };
        assert!(reason.contains(part), "{script}: {reason}");
    }
}

#[test]
fn a_link_in_place_of_a_layer_is_not_one() {
    let mut world = World::new(&["a"]);
    let script =
        "ln -s /etc \"$CNB_LAYERS_DIR/l\"; printf '[types]\\nlaunch = true\\n' > \"$CNB_LAYERS_DIR/l.toml\"";
    world.buildpack("a", "exit 0", script);
    assert!(!world.outcome().0.buildpacks[0].layers[&"l".parse().unwrap()].present);
}

#[test]
fn slices_and_labels_add_up_and_of_a_process_type_the_last_wins() {
    let mut world = World::new(&["a b"]);
    let launch = |command: &str| {
        format!(
            "printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"{command}\"]\\n[[slices]]\\npaths = [\"{command}\"]\\n' > \"$CNB_LAYERS_DIR/launch.toml\""
        )
    };
    world.buildpack("a", "exit 0", &launch("one"));
    world.buildpack("b", "exit 0", &launch("two"));
    let (outcome, _) = world.outcome();
    assert_eq!(outcome.processes.iter().map(|p| p.command[0].as_str()).collect::<Vec<_>>(), ["two"]);
    assert_eq!(outcome.slices.len(), 2);
}
