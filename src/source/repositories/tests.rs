//! Repositories: made, converged, moved and removed.

use super::*;
use crate::Quarantine;
use crate::fixture::{FILE, Fixture};

fn commit(fixture: &Fixture, content: &[u8]) -> CommitId {
    let blob = fixture.blob(content);
    fixture.commit(&fixture.tree(&[(FILE, &blob, b"f")]), &[])
}

#[test]
fn repositories_come_and_go() {
    let fixture = Fixture::new();
    let (repositories, tool) = (&fixture.repositories, &fixture.tool);
    assert!(matches!(repositories.create(tool), Err(SourceError::Exists(_))));
    let other: ToolName = "quotes".parse().unwrap();
    repositories.create(&other).unwrap();
    assert_eq!(repositories.list().unwrap(), [other.clone(), tool.clone()]);
    repositories.delete(&other).unwrap();
    repositories.delete(&other).unwrap();
    assert_eq!(repositories.list().unwrap(), std::slice::from_ref(tool));
    assert!(matches!(repositories.serve(Service::UploadPack, &other), Err(SourceError::Absent(_))));
    let left: Vec<_> = fs::read_dir(fixture.folder.path().join("repos"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_ref_moves_from_where_it_is_believed_to_be_and_only_then() {
    let fixture = Fixture::new();
    let (one, two) = (commit(&fixture, b"1"), commit(&fixture, b"2"));
    let name = "refs/heads/main";
    let go = |old: Option<&CommitId>, new| fixture.repositories.move_ref(&fixture.tool, name, old, new);
    assert!(matches!(go(Some(&one), &two), Err(SourceError::Moved { now: None, .. })));
    go(None, &one).unwrap();
    match go(None, &two) {
        Err(SourceError::Moved { now, .. }) => assert_eq!(now.as_ref(), Some(&one)),
        other => panic!("{other:?}"),
    }
    go(Some(&one), &two).unwrap();
    assert_eq!(fixture.repositories.reference(&fixture.tool, name).unwrap(), Some(two.clone()));
    let error = go(Some(&one), &one).unwrap_err();
    assert_eq!(error.fault().id, "push/branch-moved");
    let missing = "6".repeat(40).parse().unwrap();
    assert!(matches!(go(Some(&two), &missing), Err(SourceError::Write { .. })));
    fixture.repositories.remove_ref(&fixture.tool, name).unwrap();
    assert_eq!(fixture.repositories.reference(&fixture.tool, name).unwrap(), None);
}

#[test]
fn of_many_that_move_a_ref_at_once_one_wins() {
    let fixture = Fixture::new();
    let base = commit(&fixture, b"base");
    fixture.repositories.move_ref(&fixture.tool, "refs/heads/main", None, &base).unwrap();
    let rivals: Vec<_> = (0..8).map(|n| commit(&fixture, format!("{n}").as_bytes())).collect();
    let wins: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = rivals
            .iter()
            .map(|rival| {
                scope.spawn(|| {
                    fixture
                        .repositories
                        .move_ref(&fixture.tool, "refs/heads/main", Some(&base), rival)
                        .is_ok()
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count()
    });
    assert_eq!(wins, 1);
}

#[test]
fn a_foreign_configuration_does_not_stay_in_force() {
    let fixture = Fixture::new();
    let config = fixture.repositories.path(&fixture.tool).join("config");
    let ours = fs::read_to_string(&config).unwrap();
    fs::write(&config, "[core]\n\thooksPath = /tmp/evil\n[alias]\n\tx = !id\n").unwrap();
    fixture.repositories.serve(Service::ReceivePack, &fixture.tool).unwrap();
    assert_eq!(fs::read_to_string(&config).unwrap(), ours);
    let read = |key: &str| fixture.git(&["config", "--get", key], b"");
    assert_eq!(read("receive.procreceiverefs"), "refs");
    assert_eq!(read("receive.maxinputsize"), "512000000");
    assert_eq!(read("transfer.fsckobjects"), "true");
    assert!(read("core.hookspath").ends_with("/repos/.hooks"));
}

#[test]
fn hooks_are_programs_of_ours_and_the_environment_is_clean() {
    let fixture = Fixture::new();
    let hook = fs::read_to_string(fixture.folder.path().join("repos/.hooks/proc-receive")).unwrap();
    assert_eq!(hook, "#!/bin/sh\nexec '/bin/false' proc-receive\n");
    let command = fixture.repositories.serve(Service::ReceivePack, &fixture.tool).unwrap();
    let names: Vec<_> =
        command.get_envs().filter(|(_, value)| value.is_some()).map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        names,
        [
            "GIT_ATTR_NOSYSTEM",
            "GIT_CONFIG_GLOBAL",
            "GIT_CONFIG_NOSYSTEM",
            "GIT_TERMINAL_PROMPT",
            "HOME",
            "LC_ALL",
            "PATH"
        ]
    );
}

#[test]
fn what_a_crash_left_is_swept_and_nothing_else() {
    let fixture = Fixture::new();
    let dir = fixture.folder.path().join("repos");
    fs::create_dir_all(dir.join(".old-x/git")).unwrap();
    fs::create_dir_all(dir.join("weather.git/objects/tmp_objdir-incoming-abc/pack")).unwrap();
    let hook = HookCommand { program: "/bin/true".into(), args: Vec::new() };
    let options = RepositoryOptions { git: "/usr/bin/git".into(), hook, limits: SourceLimits::default() };
    let again = Repositories::open(&dir, options).unwrap();
    assert!(!dir.join(".old-x").exists() && again.exists(&fixture.tool));
    assert!(!dir.join("weather.git/objects/tmp_objdir-incoming-abc").exists());
}

#[test]
fn a_quarantine_is_counted_and_emptied_and_must_be_the_repositorys_own() {
    let fixture = Fixture::new();
    let objects = fixture.repositories.path(&fixture.tool).join("objects");
    let path = objects.join("tmp_objdir-incoming-xyz");
    fs::create_dir_all(path.join("pack")).unwrap();
    fs::create_dir_all(path.join("ab")).unwrap();
    fs::write(path.join("ab/cdef"), "loose").unwrap();
    let blobs = format!("{}\n{}\n", fixture.blob(b"one"), fixture.blob(b"two"));
    fixture.git(&["pack-objects", path.join("pack/pack").to_str().unwrap()], blobs.as_bytes());
    let quarantine = Quarantine::of(&fixture.repositories, &fixture.tool, &path).unwrap();
    assert_eq!(quarantine.objects().unwrap(), 3);
    quarantine.empty().unwrap();
    assert_eq!(quarantine.objects().unwrap(), 0);
    for other in [
        objects.as_path(),
        &objects.join(".."),
        &objects.join("missing"),
        Path::new("/tmp"),
        &path.join("pack"),
    ] {
        assert!(Quarantine::of(&fixture.repositories, &fixture.tool, other).is_err(), "{}", other.display());
    }
}

#[test]
fn maintenance_keeps_what_is_there() {
    let fixture = Fixture::new();
    let one = commit(&fixture, b"1");
    fixture.repositories.move_ref(&fixture.tool, "refs/heads/main", None, &one).unwrap();
    fixture.repositories.maintain(&fixture.tool).unwrap();
    assert!(fixture.repositories.is_commit(&fixture.tool, &one, None));
}
