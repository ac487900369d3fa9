//! Defaults and template are one, and every mistake is shown with its line.

use super::*;
use secrecy::ExposeSecret;

fn message(text: &str) -> String {
    let error = Config::parse(text, "hythe.toml").expect_err("it is wrong");
    let mut shown = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut shown, &error)
        .expect("a report");
    shown
}

fn uncommented() -> String {
    let setting =
        |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with('#')).map(str::to_owned);
    TEMPLATE.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_template_says_the_defaults() {
    assert_eq!(Config::parse(TEMPLATE, "template").expect("valid"), Config::default());
    assert_eq!(Config::parse(&uncommented(), "template").expect("valid"), Config::default());
}

#[test]
fn the_template_names_every_setting() {
    let table: toml::Table = toml::from_str(&uncommented()).expect("valid");
    let expected = |text: &str| -> Vec<String> {
        let error = toml::from_str::<Config>(text).expect_err("unknown").message().to_owned();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    };
    let sections = expected("zzz = 1");
    assert!(sections.len() >= 14, "{sections:?}");
    // Of mounts and quotas there are as many as one likes, and by default none.
    let one = |section: &&str| *section != "mounts";
    for section in sections.iter().map(String::as_str).filter(one).chain(["egress.mirrors"]) {
        let at = section.split('.').fold(&table, |at, part| at[part].as_table().expect("a table"));
        let settings = expected(&format!("[{section}]\nzzz = 1"));
        assert!(!settings.is_empty(), "{section}");
        for setting in settings.into_iter().filter(|setting| setting != "quotas") {
            assert!(at.contains_key(&setting), "the template lacks {setting} of [{section}]");
        }
    }
}

/// What the template tells of sections of which there may be several.
fn example(section: &str) -> String {
    let begin = format!("##   [[{section}]]");
    let example =
        TEMPLATE.lines().skip_while(|line| *line != begin).take_while(|line| line.starts_with("##"));
    let told = example
        .map(|line| line.trim_start_matches('#'))
        .map(|line| line.split("    ").next().unwrap_or_default());
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_tool_may_have_a_quota_of_its_own() {
    let config = Config::parse(&example("kubernetes.quotas"), "example").expect("valid").kubernetes;
    let quota = config.quotas[0].over(&config.quota);
    assert_eq!(config.quotas[0].tools[0].as_str(), "weather");
    assert_eq!(quota, Quota { memory: "32 GiB".parse().unwrap(), ..Quota::default() });
}

#[test]
fn mounts_are_as_the_template_tells_and_fit_the_runtime() {
    let text = example("mounts");
    let mounts = Config::parse(&text, "example").expect("valid").mounts;
    assert_eq!((mounts.len(), mounts[0].name.as_str()), (1, "dumps"), "{text}");
    assert_eq!(mounts[0].folder.as_deref(), Some(std::path::Path::new("/srv/dumps")));
    insta::assert_snapshot!(
        [
            "[[mounts]]\nname = \"dumps\"\n",
            "[[mounts]]\nname = \"dumps\"\nfolder = \"srv\"\n",
            "[rollout]\nruntime = \"kubernetes\"\n[[mounts]]\nname = \"dumps\"\nfolder = \"/srv/dumps\"\n",
            "[[mounts]]\nname = \"Dumps\"\nfolder = \"/srv\"\n",
        ]
        .map(message)
        .join("\n")
    );
}

#[test]
fn an_unknown_setting_is_a_mistake_with_a_line() {
    insta::assert_snapshot!(message("[server]\ndrain = \"5 s\"\n\n[ssh]\nlisen = \"0.0.0.0:22\"\n"));
}

#[test]
fn an_unknown_section_is_a_mistake_with_a_line() {
    insta::assert_snapshot!(message("[ssh]\nlisten = \"127.0.0.1:22\"\n[buidler]\nconcurrent = 2\n"));
}

#[test]
fn something_far_off_lists_what_there_is() {
    insta::assert_snapshot!(message("[stacks]\nxyzzy = 1\n"));
}

#[test]
fn a_wrong_type_says_what_it_takes() {
    insta::assert_snapshot!(message("[builder]\nmemory = 512\n"));
}

#[test]
fn a_wrong_unit_says_how_to_write_it() {
    insta::assert_snapshot!(message("[builder]\ntime = \"20 minutes\"\n"));
}

#[test]
fn a_wrong_address_is_shown() {
    insta::assert_snapshot!(message("[ssh]\nlisten = \"localhost\"\n"));
}

#[test]
fn a_wrong_choice_lists_the_choices() {
    insta::assert_snapshot!(message("[tls]\nmode = \"on\"\n"));
}

#[test]
fn a_broken_line_is_shown() {
    insta::assert_snapshot!(message("[ssh]\nlisten = \n"));
}

#[test]
fn plain_http_on_an_open_address_is_refused() {
    insta::assert_snapshot!(message("[router]\nlisten = \"0.0.0.0:80\"\n[tls]\nmode = \"off\"\n"));
    // Nodes and builds send their passwords there.
    insta::assert_snapshot!(message("[registry]\nlisten = \"0.0.0.0:5000\"\n[tls]\nmode = \"off\"\n"));
    for registry in ["listen = \"127.0.0.1:5000\"", "listen = \"0.0.0.0:5000\"\nplain = true"] {
        let text = format!("[registry]\n{registry}\n[tls]\nmode = \"off\"\n");
        Config::parse(&text, "x").expect("it is meant, or stays on this machine");
    }
}

#[test]
fn a_certificate_without_a_key_is_refused() {
    insta::assert_snapshot!(message("[tls]\nmode = \"files\"\ncertificate = \"/etc/ssl/a.pem\"\n"));
}

#[test]
fn no_network_and_no_domain_are_refused() {
    insta::assert_snapshot!(message("[egress]\nallow_private = [\"10.0.0.0/33\"]\n"));
    insta::assert_snapshot!(message("[router]\ndomain = \"Tools.Example.org:80\"\n"));
}

#[test]
fn names_that_a_cluster_would_refuse_are_refused() {
    for (key, name) in [
        ("namespace_prefix", "Tools-"),
        ("namespace_prefix", "-tools"),
        ("namespace_prefix", &"t".repeat(41)),
        ("platform", "hythe.dev"),
        ("platform", ""),
        ("build_namespace", "builds_of_ann"),
    ] {
        let told = message(&format!(
            "[rollout]\nruntime = \"kubernetes\"\n[registry]\nlisten = \"127.0.0.1:0\"\n[kubernetes]\n{key} = \"{name}\"\n"
        ));
        assert!(told.contains(key) && told.contains("this is not"), "{told}");
    }
    load(&[("HYTHE_KUBERNETES__PLATFORM", "hythe.dev")]).expect("nothing runs in a cluster");
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn the_environment_goes_before_the_file() {
    let config = load(&[
        ("HYTHE_SSH__LISTEN", "127.0.0.1:0"),
        ("HYTHE_BUILDER__CONCURRENT", "3"),
        ("HYTHE_BUILDER__CPU", "1.5"),
        ("HYTHE_BUILDER__MEMORY", "1 GiB"),
        ("HYTHE_EGRESS__MIRRORS__PIP", "https://pypi.example.org/simple"),
        ("HYTHE_EGRESS__ALLOW_PRIVATE", "[\"10.1.0.0/16\"]"),
        ("HYTHE_STACKS__CACHE_DIR", ""),
        ("HYTHE_CONFIG", "/elsewhere"),
        ("PATH", "/bin"),
    ])
    .expect("valid");
    assert_eq!(config.ssh.listen.port(), 0);
    assert_eq!((config.builder.concurrent, config.builder.cpu), (3, Cores(1500)));
    assert_eq!(config.builder.memory, Size::mib(1024));
    assert_eq!(config.egress.mirrors.pip.as_deref(), Some("https://pypi.example.org/simple"));
    assert_eq!(config.egress.allow_private, ["10.1.0.0/16"]);
    assert_eq!(config.stacks.cache_dir, None);
}

#[test]
fn the_environment_is_checked_as_the_file_is() {
    let shown = |pairs: &[(&str, &str)]| load(pairs).expect_err("wrong").to_string();
    assert_eq!(
        shown(&[("HYTHE_SSH__LISEN", "127.0.0.1:0")]),
        "HYTHE_SSH__LISEN: there is no setting `lisen` in [ssh]"
    );
    assert_eq!(shown(&[("HYTHE_SHS__LISTEN", "x")]), "HYTHE_SHS__LISTEN: there is no section [shs]");
    assert!(shown(&[("HYTHE_BUILDER__CONCURRENT", "many")]).contains("does not fit"));
    assert!(shown(&[("HYTHE_BUILDER__CONCURRENT", "0")]).contains("at least one build"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/hythe.toml")), []).expect_err("missing");
    assert!(error.to_string().contains("/nowhere/hythe.toml"), "{error}");
}

#[test]
fn proxies_are_secret_in_debug() {
    let config =
        Config::parse("[egress]\nhttps_proxy = \"http://me:hunter2@proxy:3128\"\n", "x").expect("valid");
    assert!(config.egress.https_proxy.is_some());
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_password_of_a_database_is_never_shown() {
    let url = "postgresql://hythe:hunter2@db/hythe";
    let config = Config::parse(&format!("[store]\nurl = \"{url}\"\n"), "x").expect("valid");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(
        config.store.url().expect("it is there").map(|url| url.expose_secret().to_owned()),
        Some(url.to_owned())
    );
    let twice =
        message(&format!("[store]\nurl = \"{url}\"\nurl_file = \"/run/secrets/url\"\nconnections = 3\n"));
    assert!(twice.contains("named twice") && twice.contains("hythe:*******@db"), "{twice}");
    assert!(!twice.contains("hunter2"), "{twice}");
}

#[test]
fn the_database_may_be_named_by_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let config =
        Config::parse(&format!("[store]\nurl_file = \"{}\"\n", file.path().display()), "x").expect("valid");
    assert!(config.store.url().expect_err("it is empty").to_string().contains("is empty"));
    std::fs::write(file.path(), "postgresql://db/hythe\n").expect("written");
    let read = config.store.url().expect("it is there").map(|url| url.expose_secret().to_owned());
    assert_eq!(read.as_deref(), Some("postgresql://db/hythe"));
    assert!(Config::default().store.url().expect("none").is_none());
}

#[test]
fn an_external_registry_is_named_before_it_is_described() {
    let unused = message("[registry.external]\npull_credentials = \"/etc/hythe/pull.json\"\n");
    assert!(unused.contains("not named") && unused.contains("pull.json"), "{unused}");
    let cluster =
        "[rollout]\nruntime = \"kubernetes\"\n[registry.external]\nprefix = \"harbor.example.org/hythe\"\n";
    let builds = message(cluster);
    assert!(builds.contains("nodes would not know"), "builds in pods pull from this server: {builds}");
    Config::parse(&format!("{cluster}[builder]\nexecutor = \"sandbox\"\n"), "x")
        .expect("nothing is pulled here");
}

#[test]
fn the_data_folder_follows_the_home() {
    let server = Server::default();
    assert_eq!(server.data_dir(Some(Path::new("/var/lib/hythe"))), Path::new("/var/lib/hythe/data"));
    assert_eq!(server.data_dir(Some(Path::new("/home/ann"))), Path::new("/home/ann/.local/share/hythe"));
    assert_eq!(server.data_dir(None), Path::new("/var/lib/hythe/data"));
}
