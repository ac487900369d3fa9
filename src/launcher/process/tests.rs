use super::*;

fn process(direct: bool) -> Process {
    Process {
        kind: "web".parse().unwrap(),
        command: vec!["serve".into(), "--fast".into()],
        args: vec!["default".into()],
        direct,
        buildpack_id: "a/b".parse().unwrap(),
        working_dir: None,
        exec_env: Vec::new(),
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[test]
fn a_users_arguments_replace_the_default_ones() {
    let process = process(true);
    assert_eq!(
        choose(Some(&process), "web", vec![]).unwrap(),
        Start::Direct(words(&["serve", "--fast", "default"]))
    );
    let start = choose(Some(&process), "web", words(&["mine"])).unwrap();
    assert_eq!(start, Start::Direct(words(&["serve", "--fast", "mine"])));
}

#[test]
fn a_process_that_is_not_direct_is_a_script() {
    let start = choose(Some(&process(false)), "web", vec![]).unwrap();
    assert_eq!(start, Start::Shell(words(&["serve --fast", "default"])));
}

#[test]
fn two_dashes_come_before_a_command_without_a_shell() {
    let start = choose(None, "launcher", words(&["--", "ls", "-l"])).unwrap();
    assert_eq!(start, Start::Direct(words(&["ls", "-l"])));
    let start = choose(None, "launcher", words(&["echo $1", "x"])).unwrap();
    assert_eq!(start, Start::Shell(words(&["echo $1", "x"])));
    assert!(choose(None, "web", vec![]).is_err());
    assert!(choose(None, "launcher", words(&["--"])).is_err());
}

#[test]
fn programs_are_found_in_the_process_path_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (name, mode) in [("serve", 0o755), ("notes", 0o644)] {
        fs::write(folder.path().join(name), "").unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let path = OsString::from(format!("/nowhere:{}", folder.path().display()));
    assert_eq!(look_up(OsStr::new("serve"), Some(&path)), folder.path().join("serve"));
    assert_eq!(look_up(OsStr::new("notes"), Some(&path)), PathBuf::from("notes"));
    assert_eq!(look_up(OsStr::new("absent"), Some(&path)), PathBuf::from("absent"));
    assert_eq!(look_up(OsStr::new("./serve"), Some(&path)), PathBuf::from("./serve"));
}
