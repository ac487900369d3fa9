//! Whether symbolic links stay in their tree.
//!
//! A link is followed as the kernel would follow it, through other links of the tree: what looks inside by its letters
//! can lead outside through a second link, and the other way round.

use std::collections::HashMap;

/// More than the kernel's 40: a path that needs more cannot be opened at all.
const HOPS: usize = 64;

/// The links of a tree by path, with their targets.
pub(crate) type Links = HashMap<String, String>;

/// Whether following the link at `path` ever steps above the root of the tree.
pub(crate) fn leaves(links: &Links, path: &str) -> bool {
    let Some(target) = links.get(path) else { return false };
    let folder: Vec<&str> = path.split('/').collect();
    let mut place: Vec<String> = folder[..folder.len() - 1].iter().map(|part| (*part).to_owned()).collect();
    let mut todo: Vec<String> = Vec::new();
    let mut hops = 0;
    if !follow(target, &mut todo) {
        return true;
    }
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => {}
            ".." => {
                if place.pop().is_none() {
                    return true;
                }
            }
            _ => {
                place.push(part);
                let Some(target) = links.get(&place.join("/")) else { continue };
                hops += 1;
                if hops > HOPS {
                    return false;
                }
                place.pop();
                if !follow(target, &mut todo) {
                    return true;
                }
            }
        }
    }
    false
}

/// Puts a target's parts before what is still to do; false where it is absolute.
fn follow(target: &str, todo: &mut Vec<String>) -> bool {
    if target.starts_with('/') {
        return false;
    }
    todo.extend(target.rsplit('/').map(str::to_owned));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(pairs: &[(&str, &str)]) -> Links {
        pairs.iter().map(|(path, target)| ((*path).to_owned(), (*target).to_owned())).collect()
    }

    #[test]
    fn plain_links_are_judged_by_where_they_lead() {
        for (path, target, out) in [
            ("a", "b", false),
            ("a", "../b", true),
            ("a", "/etc/passwd", true),
            ("d/a", "../b", false),
            ("d/a", "../../b", true),
            ("d/a", "./../x/../../y", true),
            ("a", "", false),
            ("a", "missing/../b", false),
            ("a", "x/../..", true),
        ] {
            assert_eq!(leaves(&links(&[(path, target)]), path), out, "{path} -> {target}");
        }
    }

    #[test]
    fn a_second_link_can_lead_out() {
        // By its letters `x` ends in `d`; by way of `f`, which is the root, it ends above the tree.
        let tree = links(&[("d/e/f", "../.."), ("x", "d/e/f/../..")]);
        assert!(!leaves(&tree, "d/e/f"));
        assert!(leaves(&tree, "x"));
    }

    #[test]
    fn a_second_link_can_lead_back_in() {
        let tree = links(&[("a", "sub/deep"), ("b", "a/../../b")]);
        assert!(!leaves(&tree, "b"));
    }

    #[test]
    fn loops_lead_nowhere() {
        let tree = links(&[("a", "b"), ("b", "a"), ("c", "c/../..")]);
        assert!(!leaves(&tree, "a") && !leaves(&tree, "c"));
    }

    #[test]
    fn an_absolute_link_in_the_middle_counts() {
        assert!(leaves(&links(&[("a", "/"), ("b", "a/etc")]), "b"));
    }
}
