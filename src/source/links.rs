//! Whether symbolic links stay in their tree.
//!
//! A link is followed as the kernel would follow it, through other links of the tree: what looks inside by its letters
//! can lead outside through a second link, and the other way round.

use std::collections::HashMap;

/// More than the kernel's 40: a path that needs more cannot be opened at all.
const HOPS: usize = 64;
/// Bytes of paths that the judgement of one tree may go through: many times what a sane tree needs, a fraction of a
/// second of work.
const BUDGET: usize = 64 << 20;

/// The links of a tree by path, with their targets.
pub(crate) type Links = HashMap<String, String>;

/// Judges the links of one tree, with a bound on the work.
pub(crate) struct Judge<'t> {
    links: &'t Links,
    left: usize,
}

/// The links lead through each other in so many ways that nobody follows them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tangled;

impl<'t> Judge<'t> {
    pub(crate) fn new(links: &'t Links) -> Self {
        Self { links, left: BUDGET }
    }

    /// Whether following the link at `path` ever steps above the root of the tree.
    pub(crate) fn leaves(&mut self, path: &str) -> Result<bool, Tangled> {
        let Some(target) = self.links.get(path) else { return Ok(false) };
        let mut place = path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
        let mut todo: Vec<&str> = Vec::new();
        let mut hops = 0;
        if !follow(target, &mut todo) {
            return Ok(true);
        }
        while let Some(part) = todo.pop() {
            self.left = self.left.checked_sub(place.len() + part.len() + 1).ok_or(Tangled)?;
            match part {
                "" | "." => {}
                ".." if place.is_empty() => return Ok(true),
                ".." => place.truncate(place.rfind('/').unwrap_or(0)),
                _ => {
                    let folder = place.len();
                    if !place.is_empty() {
                        place.push('/');
                    }
                    place.push_str(part);
                    let Some(target) = self.links.get(&place) else { continue };
                    hops += 1;
                    if hops > HOPS {
                        return Ok(false);
                    }
                    place.truncate(folder);
                    if !follow(target, &mut todo) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

/// Puts a target's parts before what is still to do; false where it is absolute.
fn follow<'t>(target: &'t str, todo: &mut Vec<&'t str>) -> bool {
    if target.starts_with('/') {
        return false;
    }
    todo.extend(target.rsplit('/'));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(pairs: &[(&str, &str)]) -> Links {
        pairs.iter().map(|(path, target)| ((*path).to_owned(), (*target).to_owned())).collect()
    }

    fn leaves(links: &Links, path: &str) -> bool {
        Judge::new(links).leaves(path).unwrap()
    }

    #[test]
    fn a_tangle_is_given_up() {
        // Each name of a target of four thousand bytes leads through the same link once more.
        let through = "l/".repeat(2000);
        let mut tree = links(&[("l", ".")]);
        tree.extend((0..5000).map(|number| (format!("x{number}"), through.clone())));
        let mut judge = Judge::new(&tree);
        let judged = (0..5000).try_for_each(|number| judge.leaves(&format!("x{number}")).map(|_| ()));
        assert_eq!(judged, Ok(()), "five thousand plain ones are well within the budget");
        let deep = format!("{}x", "d/".repeat(1900));
        tree.extend((0..50_000).map(|number| (format!("{deep}{number}"), "y/".repeat(2000))));
        let mut judge = Judge::new(&tree);
        let judged = (0..50_000).try_for_each(|number| judge.leaves(&format!("{deep}{number}")).map(|_| ()));
        assert_eq!(judged, Err(Tangled));
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
