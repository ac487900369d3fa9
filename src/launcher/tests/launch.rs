//! Runs the real launcher over a small layers folder.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const METADATA: &str = r#"
[[buildpacks]]
api = "0.12"
id = "a/first"

[[buildpacks]]
api = "0.12"
id = "a/second"

[[processes]]
type = "web"
command = ["show", "fixed"]
args = ["default"]
direct = true
buildpack-id = "a/second"

[[processes]]
type = "elsewhere"
command = ["sh", "-c", "pwd"]
direct = true
buildpack-id = "a/second"
working-dir = "/"

[[processes]]
type = "script"
command = ["echo $GREETING; pwd"]
direct = false
buildpack-id = "a/second"

[[processes]]
type = "words"
command = ["echo"]
args = ["$GREETING", "a b"]
direct = false
buildpack-id = "a/second"

[[processes]]
type = "trial"
command = ["show"]
direct = true
buildpack-id = "a/second"
exec-env = ["test"]
"#;

struct Image {
    root: tempfile::TempDir,
}

impl Image {
    fn new() -> Self {
        let image = Self { root: tempfile::tempdir().unwrap() };
        image.file("layers/config/metadata.toml", METADATA);
        fs::create_dir_all(image.path("workspace")).unwrap();
        fs::create_dir_all(image.path("cnb/process")).unwrap();
        image
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn program(&self, path: &str, script: &str) {
        self.file(path, script);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn start(&self, name: &str, args: &[&str]) -> Output {
        self.start_with(name, args, &[])
    }

    fn start_with(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
        let link = self.path("cnb/process").join(name);
        if !link.exists() {
            symlink(env!("CARGO_BIN_EXE_hythe-launcher"), &link).unwrap();
        }
        Command::new(&link)
            .args(args)
            .env_clear()
            .env("PATH", "/cnb/process:/cnb/lifecycle:/usr/bin:/bin")
            .env("CNB_LAYERS_DIR", self.path("layers"))
            .env("CNB_APP_DIR", self.path("workspace"))
            .env("CNB_PLATFORM_API", "0.15")
            .envs(env.iter().copied())
            .output()
            .unwrap()
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn show(image: &Image) {
    image.program("layers/a_first/tools/bin/show", "#!/bin/sh\necho \"$@\"; env | sort\n");
}

#[test]
fn a_link_starts_its_process_and_user_arguments_replace_the_default_ones() {
    let image = Image::new();
    show(&image);
    assert_eq!(text(&image.start("web", &[])).lines().next(), Some("fixed default"));
    assert_eq!(text(&image.start("web", &["mine", "too"])).lines().next(), Some("fixed mine too"));
}

#[test]
fn the_process_sees_layers_and_nothing_of_the_launcher() {
    let image = Image::new();
    show(&image);
    image.file("layers/a_first/tools/env/A", "plain");
    image.file("layers/a_first/tools/env.launch/A.append", "+launch");
    image.file("layers/a_first/tools/env.launch/web/A.append", "+web");
    image.file("layers/a_first/tools/env.launch/worker/A.append", "+worker");
    image.file("layers/a_first/tools/env.build/A.append", "+build");
    image.file("layers/a_second/x/env/A.append", "+second");
    fs::create_dir_all(image.path("layers/a_second/x/lib")).unwrap();
    let seen = text(&image.start_with("web", &[], &[("PORT", "80")]));
    let root = image.root.path().display();
    assert!(seen.contains("\nA=plain+launch+web+second\n"), "{seen}");
    assert!(seen.contains(&format!("\nLD_LIBRARY_PATH={root}/layers/a_second/x/lib\n")), "{seen}");
    assert!(seen.contains(&format!("\nPATH={root}/layers/a_first/tools/bin:/usr/bin:/bin\n")), "{seen}");
    assert!(seen.contains("\nPORT=80\n") && !seen.contains("CNB_"), "{seen}");
}

#[test]
fn exec_d_sees_all_layers_and_adds_variables() {
    let image = Image::new();
    show(&image);
    image.file("layers/a_second/x/env/LATER", "1");
    image.program("layers/a_first/tools/exec.d/10", "#!/bin/sh\necho \"SEEN='$LATER'\" >&3\n");
    image.program("layers/a_first/tools/exec.d/20", "#!/bin/sh\necho \"SEEN='$SEEN-again'\" >&3\n");
    image.program("layers/a_first/tools/exec.d/web/x", "#!/bin/sh\necho 'WEB=\"yes\"' >&3\n");
    image.program("layers/a_first/tools/exec.d/worker/x", "#!/bin/sh\nexit 1\n");
    let seen = text(&image.start("web", &[]));
    assert!(seen.contains("\nSEEN=1-again\n") && seen.contains("\nWEB=yes\n"), "{seen}");
}

#[test]
fn a_failing_exec_d_stops_the_start() {
    let image = Image::new();
    show(&image);
    image.program("layers/a_first/tools/exec.d/x", "#!/bin/sh\nexit 7\n");
    let output = image.start("web", &[]);
    assert_eq!(output.status.code(), Some(80));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exec.d/x"), "{output:?}");
}

#[test]
fn processes_start_in_the_app_or_where_they_say() {
    let image = Image::new();
    assert_eq!(text(&image.start("elsewhere", &[])), "/\n");
    let here = text(&image.start("launcher", &["--", "pwd"]));
    assert_eq!(Path::new(here.trim()), image.path("workspace").canonicalize().unwrap());
}

#[test]
fn a_process_without_direct_runs_in_bash_after_the_profiles() {
    let image = Image::new();
    image.file("layers/a_first/tools/profile.d/hello.sh", "export GREETING=hello");
    image.file("workspace/.profile", "export GREETING=\"$GREETING app\"");
    let app = image.path("workspace").canonicalize().unwrap();
    assert_eq!(text(&image.start("script", &[])), format!("hello app\n{}\n", app.display()));
    assert_eq!(text(&image.start("words", &[])), "hello app a b\n");
}

#[test]
fn a_users_command_may_use_the_shell_or_not() {
    let image = Image::new();
    image.file("layers/a_first/tools/env/GREETING", "hello");
    assert_eq!(text(&image.start("launcher", &["echo $GREETING | tr h j"])), "jello\n");
    assert_eq!(text(&image.start("launcher", &["--", "echo", "$GREETING"])), "$GREETING\n");
}

#[test]
fn failures_have_the_exit_codes_of_a_shell() {
    let image = Image::new();
    assert_eq!(image.start("launcher", &["--", "no-such-program"]).status.code(), Some(127));
    assert_eq!(image.start("launcher", &[]).status.code(), Some(80));
    image.file("workspace/data", "");
    assert_eq!(image.start("launcher", &["--", "./data"]).status.code(), Some(126));
}

#[test]
fn execution_environments_pick_processes() {
    let image = Image::new();
    show(&image);
    assert_eq!(image.start("trial", &[]).status.code(), Some(80));
    assert!(image.start_with("trial", &[], &[("CNB_EXEC_ENV", "test")]).status.success());
}

#[test]
fn signals_reach_the_process_itself() {
    let image = Image::new();
    let output = image.start("launcher", &["--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(15));
}
