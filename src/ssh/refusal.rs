//! Refusals of this front in words, and any fault in the few words that git shows in brackets.

use hythe_model::{Fault, ToolName};

/// The longest reason in brackets, in characters.
const REASON: usize = 100;

/// The few words for `! [remote rejected] main -> main (...)`: what failed, and the id where to read on.
pub(crate) fn reason(fault: &Fault) -> String {
    let clause = fault.what.split(": ").next().unwrap_or_default().trim_end_matches(['.', ':']);
    let clause = clause.strip_prefix("The ").unwrap_or(clause);
    let clause: String = clause.chars().filter(|c| !c.is_control()).take(REASON).collect();
    let clause = lower_first(&clause.replacen(" was refused", " refused", 1));
    format!("{clause}: {}", fault.id)
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    // A word that goes on in upper case is a name and stays.
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// No such tool, or none for this key: a stranger is not told which.
pub(crate) fn no_tool(tool: &ToolName, access: crate::Access) -> Fault {
    let verb = match access {
        crate::Access::Push => "push to",
        crate::Access::Fetch => "fetch from",
    };
    Fault::new("ssh/no-such-tool", format!("There is no tool {tool} that this key may {verb}."))
        .next(format!("Make it with: hythe tools create {tool}"))
        .next("Or ask one of its maintainers to add you.")
}

/// A branch that is not deployed.
pub(crate) fn other_branch(reference: &str, branches: &[String]) -> Fault {
    let deployed = branches.join(" or ");
    let first = branches.first().map_or("main", String::as_str);
    let Some(branch) = reference.strip_prefix("refs/heads/") else {
        return Fault::new(
            "push/not-a-branch",
            format!("Only the branch {deployed} is deployed; {reference} is not kept here."),
        )
        .next(format!("Push the branch alone: git push hythe {first}"));
    };
    Fault::new(
        "push/other-branch",
        format!("Only the branch {deployed} is deployed; {branch} is not kept here."),
    )
    .next(format!("Deploy it all the same: git push hythe {branch}:{first}"))
}

/// A branch that is to vanish.
pub(crate) fn delete(reference: &str) -> Fault {
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    Fault::new(
        "push/delete",
        format!("The branch {branch} cannot be deleted: it names the commit that is live."),
    )
    .next("To remove the tool itself: hythe tools delete")
}

/// A second deploy branch in the same push.
pub(crate) fn two_branches(first: &str) -> Fault {
    let first = first.strip_prefix("refs/heads/").unwrap_or(first);
    Fault::new("push/two-branches", format!("One push deploys one branch; {first} was named first."))
}

/// A branch that would not name a commit.
pub(crate) fn not_a_commit() -> Fault {
    Fault::new("push/not-a-commit", "A branch names a commit; what was pushed is something else.")
        .next("Push a branch: git push hythe HEAD:main")
}

/// A push that does not follow the live commit.
pub(crate) fn force(reference: &str, old: &str) -> Fault {
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    let old = old.get(..7).unwrap_or(old);
    Fault::new(
        "push/not-forward",
        format!("The push does not follow the live commit {old}, and force pushes are not allowed."),
    )
    .why(format!("The history of {branch} was rewritten, or the branch was started from another commit."))
    .next(format!("Bring the live commit in: git pull --rebase hythe {branch}"))
    .next("Or go back to an earlier release: hythe rollback")
}

/// More objects than a push may have.
pub(crate) fn too_many_objects(objects: u64, limit: u64) -> Fault {
    Fault::new("push/too-many-objects", format!("The push has {objects} objects; the limit is {limit}."))
        .next("Push a part of the history first, or a shallow clone: git clone --depth 1")
}

/// A push that does not begin as git begins one.
pub(crate) fn not_git() -> Fault {
    Fault::new("push/not-git", "What was sent is not a push of git.")
        .next("Push with git: git push hythe main")
}

/// A push option that does not exist or is malformed.
pub(crate) fn option(error: &hythe_model::push::PushOptionError) -> Fault {
    Fault::new("push/unknown-option", format!("A push option was not understood: {error}."))
        .next("git push -o detach, -o no-cache, -o message=\"...\"")
}

/// The other refs of an atomic push.
pub(crate) fn atomic() -> Fault {
    Fault::new("push/atomic", "Another ref of this atomic push was refused.")
}

/// More bytes than a push may have.
pub(crate) fn pack_too_big(limit: u64) -> Fault {
    let limit = hythe_model::render::size(limit);
    Fault::new("push/pack-too-big", format!("The push is larger than {limit}, which is the limit."))
        .next("Find what is large: git rev-list --objects --all --disk-usage")
        .next("Keep data and build output out of the repository, or push from a shallow clone.")
}

/// Nothing moved for too long.
pub(crate) fn stalled(after: std::time::Duration) -> Fault {
    let after = hythe_model::render::duration(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    Fault::new("ssh/stalled", format!("The connection was ended: no byte moved for {after}."))
        .next("Try again on a better connection.")
}

/// The platform failed in a way that it did not foresee.
pub(crate) fn internal() -> Fault {
    Fault::new("push/internal", "The push failed: the platform met a fault of its own.")
        .next("Try again, or tell the operator; the server's log has the details.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_short_and_name_the_id() {
        let cases = [
            (
                "python/package-not-found",
                "The build failed: a package of requirements.txt cannot be found.",
                "build failed: python/package-not-found",
            ),
            (
                "source/device-name",
                "The source was refused: a name means a device.",
                "source refused: source/device-name",
            ),
            (
                "push/other-branch",
                "Only the branch main is deployed; dev is not kept here.",
                "only the branch main is deployed; dev is not kept here: push/other-branch",
            ),
            ("x/y", "SSH is odd.", "SSH is odd: x/y"),
        ];
        for (id, what, expected) in cases {
            assert_eq!(reason(&Fault::new(id, what)), expected);
        }
    }

    #[test]
    fn a_reason_is_one_line() {
        let fault = Fault::new("a/b", format!("A\nB{}", "x".repeat(500)));
        assert!(!reason(&fault).contains('\n') && reason(&fault).len() < 120);
    }
}
