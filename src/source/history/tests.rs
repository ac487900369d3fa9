//! Lineage, cuts and subjects.

use super::*;
use crate::fixture::{FILE, Fixture};

fn commit_of(fixture: &Fixture, content: &str, parents: &[&CommitId]) -> CommitId {
    let blob = fixture.blob(content.as_bytes());
    fixture.commit(&fixture.tree(&[(FILE, &blob, b"f")]), parents)
}

fn lineage(fixture: &Fixture, old: &CommitId, new: &CommitId) -> Lineage {
    fixture.repositories.lineage(&fixture.tool, old, new, None).unwrap()
}

#[test]
fn a_push_goes_forward_or_not() {
    let fixture = Fixture::new();
    let one = commit_of(&fixture, "1", &[]);
    let two = commit_of(&fixture, "2", &[&one]);
    let side = commit_of(&fixture, "s", &[&one]);
    let merge = commit_of(&fixture, "m", &[&side, &two]);
    let alien = commit_of(&fixture, "a", &[]);
    assert_eq!(lineage(&fixture, &one, &one), Lineage::Forward);
    assert_eq!(lineage(&fixture, &one, &merge), Lineage::Forward);
    assert_eq!(lineage(&fixture, &two, &merge), Lineage::Forward);
    assert_eq!(lineage(&fixture, &two, &side), Lineage::Diverged);
    assert_eq!(lineage(&fixture, &two, &one), Lineage::Diverged);
    assert_eq!(lineage(&fixture, &one, &alien), Lineage::Diverged);
}

#[test]
fn a_cut_history_leaves_the_question_open() {
    let fixture = Fixture::new();
    let old = commit_of(&fixture, "old", &[]);
    // Its parent is not here: a shallow client pushed it.
    let missing: CommitId = "3".repeat(40).parse().unwrap();
    let blob = fixture.blob(b"x");
    let tree = fixture.tree(&[(FILE, &blob, b"f")]);
    let raw =
        format!("tree {tree}\nparent {missing}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nCut\n");
    let raw_id = |text: &str| -> CommitId {
        fixture.git(&["hash-object", "-t", "commit", "-w", "--stdin"], text.as_bytes()).parse().unwrap()
    };
    let predicted =
        fixture.git(&["hash-object", "-t", "commit", "--stdin"], raw.as_bytes()).parse::<CommitId>().unwrap();
    let noted = fixture.repositories.note_cuts(&fixture.tool, std::slice::from_ref(&predicted)).unwrap();
    assert_eq!(noted, std::slice::from_ref(&predicted));
    let cut = raw_id(&raw);
    assert_eq!(cut, predicted);
    let new = commit_of(&fixture, "new", &[&cut]);
    assert_eq!(lineage(&fixture, &old, &new), Lineage::Cut);
    assert_eq!(lineage(&fixture, &cut, &new), Lineage::Forward);
    fixture.repositories.forget_cuts(&fixture.tool, &noted).unwrap();
    let shallow = fixture.repositories.path(&fixture.tool).join("shallow");
    assert_eq!(fs::read_to_string(&shallow).unwrap(), format!("{cut}\n"), "what arrived stays noted");
}

#[test]
fn cuts_that_did_not_arrive_are_forgotten() {
    let fixture = Fixture::new();
    let present = commit_of(&fixture, "1", &[]);
    let absent: CommitId = "4".repeat(40).parse().unwrap();
    let noted = fixture.repositories.note_cuts(&fixture.tool, &[present, absent.clone()]).unwrap();
    assert_eq!(noted, [absent], "a commit that is here is not cut off by a client's word");
    let shallow = fixture.repositories.path(&fixture.tool).join("shallow");
    assert!(shallow.exists());
    fixture.repositories.forget_cuts(&fixture.tool, &noted).unwrap();
    assert!(!shallow.exists() && !shallow.with_extension("lock").exists());
}

#[test]
fn a_subject_is_one_clean_line() {
    let fixture = Fixture::new();
    let tree = fixture.tree(&[]);
    let said = |message: &str| {
        let commit = fixture.git(&["commit-tree", &tree, "-F", "-"], message.as_bytes()).parse().unwrap();
        fixture.repositories.subject(&fixture.tool, &commit).unwrap()
    };
    assert_eq!(said("Show wind in knots\n\nBecause."), "Show wind in knots");
    assert_eq!(said("\n\n  Red \u{1b}[31malert\u{202e}"), "Red [31malert");
    assert_eq!(said(&"\u{e9}".repeat(300)), "\u{e9}".repeat(100) + "...");
}

#[test]
fn only_commits_are_commits() {
    let fixture = Fixture::new();
    let commit = commit_of(&fixture, "1", &[]);
    let blob: CommitId = fixture.blob(b"x").parse().unwrap();
    assert!(fixture.repositories.is_commit(&fixture.tool, &commit, None));
    assert!(!fixture.repositories.is_commit(&fixture.tool, &blob, None));
    assert!(!fixture.repositories.is_commit(&fixture.tool, &"5".repeat(40).parse().unwrap(), None));
}
