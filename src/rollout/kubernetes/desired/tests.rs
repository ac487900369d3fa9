use super::*;
use crate::kubernetes::settings::Router;
use crate::local::testing;
use crate::one_off::OneOffTerminal;
use crate::runtime::ConfigFile;
use crate::settings::{ProcessSettings, ReadMount, Readiness, RunLimits, Volume};
use hythe_model::TerminalSize;
use hythe_model::project::{CommandLine, CronJob, Liveness, ReleaseCommand, ScaleRange};
use hythe_model::units::Span;
use hythe_registry::Prefix;
use std::time::Duration;

fn settings() -> ClusterSettings {
    ClusterSettings {
        images: Prefix::embedded("registry.hythe.example.org"),
        router: Router {
            namespace: Some("hythe-system".to_owned()),
            cidrs: vec!["10.213.0.1/32".to_owned()],
        },
        ..ClusterSettings::default()
    }
}

fn pull() -> PullAccess {
    PullAccess { user: "pull".to_owned(), password: "secret".to_owned() }
}

fn text(objects: &[Object]) -> String {
    let each = objects.iter().map(|object| {
        let value = serde_json::to_value(&object.value).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    });
    each.collect::<Vec<_>>().join("\n")
}

fn wanted(release: &RunnableRelease, settings: &ClusterSettings) -> Vec<Object> {
    live(&Wish { release, settings, pull: Some(&pull()), running: None }).unwrap()
}

#[test]
fn a_release_of_two_processes() {
    let mut release = testing::release("weather", 14, "web=2 worker=1");
    release.env = vec![("TIMEOUT".to_owned(), "30".to_owned())];
    release.settings.egress.dns = vec!["10.96.0.10".parse().unwrap()];
    insta::assert_snapshot!(text(&wanted(&release, &settings())));
}

#[test]
fn images_come_from_where_the_operator_says() {
    let release = testing::release("weather", 14, "web=1");
    let settings = ClusterSettings { images: "harbor.example.org/hythe".parse().unwrap(), ..settings() };
    let image = format!("\"harbor.example.org/hythe/weather@{}\"", release.release.image);
    let with_key = text(&wanted(&release, &settings));
    assert!(with_key.contains(&image) && with_key.contains("imagePullSecrets"), "{with_key}");
    let wish = Wish { release: &release, settings: &settings, pull: None, running: None };
    let freely = text(&live(&wish).unwrap());
    assert!(freely.contains(&image) && !freely.contains("imagePullSecrets"), "{freely}");
}

#[test]
fn settings_change_what_they_name_and_nothing_else() {
    let usual = text(&wanted(&testing::release("weather", 14, "web=1"), &settings()));
    let mut release = testing::release("weather", 14, "web=1");
    release.settings.readiness = Readiness::Http { path: "/healthz".to_owned() };
    release.settings.read_only = true;
    release.settings.egress.enabled = false;
    let changed = text(&wanted(&release, &settings()));
    insta::assert_snapshot!(difference(&usual, &changed));
}

/// Lines that went, and lines that came.
fn difference(before: &str, after: &str) -> String {
    let count = |text: &str, line: &str| text.lines().filter(|other| *other == line).count();
    let only = |one: &str, other: &str, mark: char| {
        let mut seen: Vec<&str> = Vec::new();
        let mut lines = Vec::new();
        for line in one.lines() {
            if !seen.contains(&line) && count(one, line) > count(other, line) {
                lines.push(format!("{mark}{line}"));
            }
            seen.push(line);
        }
        lines
    };
    [only(before, after, '-'), only(after, before, '+')].concat().join("\n")
}

#[test]
fn processes_have_limits_and_health_of_their_own() {
    let usual = text(&wanted(&testing::release("weather", 14, "web=1 worker=1"), &settings()));
    let mut release = testing::release("weather", 14, "web=1 worker=1");
    release.settings.liveness =
        Some(Liveness { path: Some("/livez".to_owned()), every: Span::seconds(10), failures: 4 });
    let limits = RunLimits { memory_bytes: 64 << 20, cpu_millis: 250, ..RunLimits::default() };
    let own = ProcessSettings { limits: Some(limits), grace: Some(Duration::from_mins(1)), scale: None };
    release.settings.processes.insert("worker".parse().unwrap(), own);
    insta::assert_snapshot!(difference(&usual, &text(&wanted(&release, &settings()))));
}

#[test]
fn a_release_command_is_a_job_that_runs_once() {
    let release = testing::release("weather", 14, "web=1");
    let command = ReleaseCommand {
        command: CommandLine::Text("python manage.py migrate --database $(DATABASE)".to_owned()),
        timeout: Span::seconds(300),
    };
    let settings = settings();
    let (objects, job) = release_job(
        &Wish { release: &release, settings: &settings, pull: Some(&pull()), running: None },
        &command,
    )
    .unwrap();
    let titles: Vec<_> = objects.iter().map(Object::title).collect();
    assert!(titles.iter().any(|title| title.starts_with("Secret config-")), "{titles:?}");
    insta::assert_snapshot!(serde_json::to_string_pretty(&job).unwrap());
}

#[test]
fn load_decides_within_its_range_and_what_it_asked_for_stays() {
    let usual = text(&wanted(&testing::release("weather", 14, "web=1 worker=1"), &settings()));
    let mut release = testing::release("weather", 14, "web=1 worker=1");
    let range = ScaleRange { min: 2, max: 8, cpu: 70 };
    let own = ProcessSettings { scale: Some(range), ..ProcessSettings::default() };
    release.settings.processes.insert("web".parse().unwrap(), own);
    insta::assert_snapshot!(difference(&usual, &text(&wanted(&release, &settings()))));

    let asks = |release: &RunnableRelease, running: u32| {
        let (settings, running) = (settings(), [("web".to_owned(), running)].into());
        let wish = Wish { release, settings: &settings, pull: None, running: Some(&running) };
        let all = live(&wish).unwrap();
        let web = all.iter().find(|object| object.title() == "Deployment web").unwrap();
        web.value.data["spec"]["replicas"].clone()
    };
    assert_eq!([1, 5, 9].map(|running| asks(&release, running)), [2, 5, 8].map(serde_json::Value::from));
    release.release.formation.0.insert("web".parse().unwrap(), 0);
    assert_eq!(asks(&release, 5), 0, "who wants none gets none");
    assert!(!text(&wanted(&release, &settings())).contains("maxReplicas"));
}

#[test]
fn what_a_tool_reads_is_a_volume_that_it_claims() {
    let usual = text(&wanted(&testing::release("weather", 14, "web=1"), &settings()));
    let mut release = testing::release("weather", 14, "web=1");
    let volume = Some(Volume { class: "dumps".to_owned(), bytes: 1 << 30 });
    release.settings.mounts = vec![ReadMount { name: "dumps".parse().unwrap(), folder: None, volume }];
    insta::assert_snapshot!(difference(&usual, &text(&wanted(&release, &settings()))));
}

#[test]
fn config_as_files_is_a_secret_of_its_own_and_no_variable() {
    let usual = text(&wanted(&testing::release("weather", 14, "web=1"), &settings()));
    let mut release = testing::release("weather", 14, "web=1");
    let file = |place: &str| ConfigFile {
        place: place.parse().unwrap(),
        key: "REPLICA_LOGIN".to_owned(),
        content: "[client]\nuser = s53\n".to_owned(),
    };
    release.files = vec![file("/home/hythe/.my.cnf"), file("replica.my.cnf")];
    insta::assert_snapshot!(difference(&usual, &text(&wanted(&release, &settings()))));
}

#[test]
fn a_canary_stands_beside_what_serves_and_changes_nothing_of_it() {
    let release = testing::release("weather", 14, "web=8 worker=1");
    let settings = settings();
    let wish = Wish { release: &release, settings: &settings, pull: Some(&pull()), running: None };
    let (all, few) = (live(&wish).unwrap(), canary(&wish, 2).unwrap());
    let titles = |objects: &[Object]| objects.iter().map(Object::title).collect::<Vec<_>>();
    let own: Vec<_> = titles(&few).into_iter().filter(|title| !titles(&all).contains(title)).collect();
    assert_eq!(own, ["Service web-canary", "Deployment web-canary"]);
    let usual =
        text(&all.iter().filter(|object| object.title() == "Deployment web").cloned().collect::<Vec<_>>());
    insta::assert_snapshot!(difference(&usual, &text(&few[few.len() - 1..])));
}

#[test]
fn what_runs_by_the_clock_comes_with_the_live_release() {
    let mut release = testing::release("weather", 14, "web=1");
    let usual = text(&wanted(&release, &settings()));
    let job = CronJob {
        schedule: "*/5 * * * *".parse().unwrap(),
        command: CommandLine::Words(vec!["python".to_owned(), "clean.py".to_owned()]),
        timeout: Span::seconds(1800),
        overlap: false,
    };
    release.release.project.cron.insert("clean-up".parse().unwrap(), job);
    let settings = settings();
    let wish = Wish { release: &release, settings: &settings, pull: Some(&pull()), running: None };
    assert_eq!(text(&coming(&wish).unwrap()), usual, "not before it is live");
    insta::assert_snapshot!(difference(&usual, &text(&live(&wish).unwrap())));
}

#[test]
fn a_config_is_named_by_its_content() {
    let named = |env: &[(&str, &str)]| {
        let mut release = testing::release("weather", 14, "web=1");
        release.env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let all = wanted(&release, &settings());
        all.iter().find(|object| object.title().starts_with("Secret config-")).unwrap().title()
    };
    assert_eq!(named(&[("A", "bc")]), named(&[("A", "bc")]));
    assert_ne!(named(&[("A", "bc")]), named(&[("A", "bd")]));
    assert_ne!(named(&[("A", "bc")]), named(&[("AB", "c")]));
}

#[test]
fn a_config_that_no_secret_holds_is_refused() {
    let mut release = testing::release("weather", 14, "web=1");
    release.env = vec![("BIG".to_owned(), "x".repeat(1 << 20))];
    let settings = settings();
    let fault =
        live(&Wish { release: &release, settings: &settings, pull: None, running: None }).unwrap_err();
    assert_eq!(fault.id, "rollout/config-too-large");
}

#[test]
fn names_of_processes_are_labels_and_differ() {
    let name = |kind: &str| names::of_process(&kind.parse().unwrap());
    assert_eq!(name("web"), "web");
    assert_eq!(name("send-mail"), "send-mail");
    let odd = ["Web", "web.2", "web-canary", "run-x", "web_2", "2web", "web-", &"w".repeat(60)].map(name);
    for name in &odd {
        assert!(name.len() <= 40 && name.starts_with("p-"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
    }
    assert_eq!(odd.iter().collect::<std::collections::BTreeSet<_>>().len(), odd.len());
}

#[test]
fn a_command_reads_from_whoever_attaches_and_hears_signals() {
    let release = testing::release("weather", 14, "web=1");
    let (settings, size) = (settings(), TerminalSize::default());
    let wish = Wish { release: &release, settings: &settings, pull: None, running: None };
    let terminal = OneOffTerminal { kind: "screen".to_owned(), size };
    let pod = |terminal| {
        one_off(&wish, vec!["echo".to_owned(), "$(HOME)".to_owned()], terminal, "hythed-1").unwrap().1
    };
    let spec = pod(Some(&terminal)).spec.unwrap();
    assert_eq!(spec.share_process_namespace, Some(true));
    let container = &spec.containers[0];
    assert_eq!(container.command.as_deref().unwrap(), ["echo", "$$(HOME)"]);
    assert_eq!((container.stdin, container.stdin_once, container.tty), (Some(true), Some(true), Some(true)));
    let kind = container.env.iter().flatten().find(|variable| variable.name == "TERM");
    assert_eq!(kind.unwrap().value.as_deref(), Some("screen"));
    assert_eq!(pod(None).spec.unwrap().containers[0].tty, None);
}
