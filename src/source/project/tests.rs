use super::*;
use hythe_model::MountName;
use hythe_model::project::{CommandLine, Part};
use hythe_model::units::{Cores, Size, Span};

const WHOLE: &str = r#"
[_]
schema-version = "0.2"

[hythe]
read_only_root = true
mounts = ["dumps"]

[hythe.files]
"replica.my.cnf" = "REPLICA_LOGIN"
"/home/hythe/.netrc" = "NETRC"

[hythe.release]
command = "python manage.py migrate"
timeout = "5 min"

[hythe.processes.web]
memory = "256 MiB"
cpu = 0.5
grace = "20 s"
readiness = { path = "/healthz", timeout = "2 min" }
liveness = { path = "/livez", every = "5 s" }
scale = { min = 2, max = 8 }

[hythe.cron.clean-up]
schedule = "*/5 * * * *"
command = ["python", "clean up.py"]

[hythe.rollout]
canary = "10 %"
pause = "1 min"
errors = "0 %"
"#;

#[test]
fn everything_that_can_be_said() {
    let project = parse(WHOLE).unwrap();
    assert_eq!(project.read_only_root, Some(true));
    assert_eq!(project.mounts.iter().map(MountName::as_str).collect::<Vec<_>>(), ["dumps"]);
    let files: Vec<_> = project.files.iter().map(|(place, key)| (place.as_str(), key.as_str())).collect();
    assert_eq!(files, [("/home/hythe/.netrc", "NETRC"), ("/workspace/replica.my.cnf", "REPLICA_LOGIN")]);
    let release = project.release.unwrap();
    assert_eq!(release.command, CommandLine::Text("python manage.py migrate".to_owned()));
    assert_eq!(release.timeout, Span::seconds(300));
    let web = &project.processes["web"];
    assert_eq!(
        (web.memory, web.cpu, web.grace),
        (Some(Size::mib(256)), Some(Cores(500)), Some(Span::seconds(20)))
    );
    assert_eq!(web.readiness.as_ref().unwrap().path.as_deref(), Some("/healthz"));
    let liveness = web.liveness.as_ref().unwrap();
    assert_eq!((liveness.every, liveness.failures), (Span::seconds(5), 3));
    assert_eq!(web.scale.map(|range| (range.min, range.max, range.cpu)), Some((2, 8, 70)));
    let job = &project.cron["clean-up"];
    assert_eq!(job.command, CommandLine::Words(vec!["python".to_owned(), "clean up.py".to_owned()]));
    assert_eq!((job.timeout, job.overlap), (Span::seconds(3600), false));
    let canary = project.canary.unwrap();
    assert_eq!((canary.part, canary.pause, canary.errors), (Part::Percent(10), Span::seconds(60), 0));
}

#[test]
fn a_file_for_others_says_nothing() {
    let project =
        parse("[_]\nid = \"x\"\n[[io.buildpacks.group]]\nid = \"a/b\"\n[tool.other]\nx = 1\n").unwrap();
    assert!(project.is_empty());
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let mistakes = [
        "[hythe\n",
        "[hythe]\nreadonly_root = true",
        "[hythe]\nread_only_root = \"yes\"",
        "[hythe]\nmounts = [\"/srv/dumps\"]",
        "[hythe.files]\n\n\"../.my.cnf\" = \"LOGIN\"",
        "[hythe.files]\n\"/proc/1/environ\" = \"LOGIN\"",
        "[hythe.files]\n\"a\" = \"LOGIN\"\n\"/workspace/a/b\" = \"LOGIN\"",
        "[hythe.files]\n\"a\" = \"user = me\"",
        "[hythe.processes.web]\nreadyness = { path = \"/\" }",
        "[hythe.processes.web]\nmemory = \"256\"",
        "[hythe.processes.web]\nmemory = \"1 MiB\"",
        "[hythe.processes.web]\n\nreadiness = { path = \"healthz\" }",
        "[hythe.processes.worker]\nliveness = { path = \"/\" }",
        "[hythe.processes.web]\nscale = { min = 3, max = 2 }",
        "[hythe.processes.web]\nscale = { max = 2 }",
        "[hythe.processes.web]\nscale = { min = 1, max = 101 }",
        "[hythe.processes.\"a/b\"]\ncpu = 1",
        "[hythe.release]\ncommand = \"  \"",
        "[hythe.release]\ncommand = 5",
        "[hythe.release]\ntimeout = \"1 min\"",
        "[hythe.cron.clean]\nschedule = \"every day\"\ncommand = \"x\"",
        "[hythe.cron.Clean]\nschedule = \"@daily\"\ncommand = \"x\"",
        "[hythe.cron.clean]\nschedule = \"@daily\"\ncommand = \"x\"\ntimeout = \"30 d\"",
        "[hythe.rollout]\npause = \"1 min\"",
        "[hythe.rollout]\ncanary = \"a few\"",
        "[hythe.rollout]\ncanary = 0",
        "[hythe.rollout]\ncanary = 1\nerrors = \"many\"",
        "[hythe.cron.release]\nschedule = \"@daily\"\ncommand = \"x\"",
    ];
    let told = mistakes.map(|text| {
        let fault = parse(text).unwrap_err();
        assert_eq!(fault.id, "source/project-file");
        format!(
            "{text}\n=> {}",
            fault.why.iter().chain(&fault.next).cloned().collect::<Vec<_>>().join("\n   ")
        )
    });
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    use crate::fixture::{FILE, Fixture, LINK};
    let fixture = Fixture::new();
    let said = |mode: &str, content: &[u8]| {
        let blob = fixture.blob(content);
        let target = fixture.blob(b"other");
        let tree = fixture.tree(&[(FILE, &target, b"other"), (mode, &blob, b"project.toml")]);
        fixture.refusal(&fixture.commit(&tree, &[])).unwrap()
    };
    let refusal = |why: &str| ("source/project-file".to_owned(), why.to_owned());
    assert_eq!(said(FILE, b"\xff\xfe"), refusal("it is not UTF-8"));
    assert_eq!(said(LINK, b"other"), refusal("it is not a regular file"));
    assert_eq!(said(FILE, &vec![b'#'; 70_000]), refusal("it has 70.0 kB; 65.5 kB are read at most"));
}
