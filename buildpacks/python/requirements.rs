//! Requirements: what is asked for, line by line, and how it differs from the last time.

use hythe_buildpack::{BuildpackError, fingerprint, read_optional};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Most files that one requirements.txt may include.
const MAX_FILES: usize = 50;

/// Packages that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    /// Normal name of a package to what is asked of it; lines that name none are their own name.
    packages: BTreeMap<String, String>,
    /// The lines as they stand, for installation from pyproject.toml.
    pub(crate) lines: Vec<String>,
    /// Changes whenever the files do.
    pub(crate) key: String,
    /// Whether a line names a folder of the source, whose content the key does not know.
    pub(crate) local: bool,
}

/// Reads requirements.txt with the files that it includes.
pub(crate) fn read(app: &Path) -> Result<Requirements, BuildpackError> {
    let mut texts = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec!["requirements.txt".to_owned()];
    while let Some(name) = open.pop() {
        if seen.len() == MAX_FILES || !seen.insert(name.clone()) {
            continue;
        }
        let text = read_optional(&app.join(&name))?.unwrap_or_default();
        let folder = Path::new(&name).parent().unwrap_or(Path::new("")).to_owned();
        open.extend(
            text.lines().filter_map(included).map(|file| folder.join(file).to_string_lossy().into_owned()),
        );
        texts.push(text);
    }
    let lines: Vec<String> = texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    Ok(Requirements { key: fingerprint(&texts), ..of_lines(&lines) })
}

/// The requirements that these lines make.
pub(crate) fn of_lines(lines: &[String]) -> Requirements {
    let packages: BTreeMap<_, _> = lines.iter().filter_map(|line| parse_line(line)).collect();
    let local = packages
        .keys()
        .any(|name| name.starts_with(['.', '/']) || name.contains("-e ") || name.contains("file:"));
    Requirements { packages, key: fingerprint(lines), lines: lines.to_vec(), local }
}

/// The file that a line includes: `-r other.txt`, `-c constraints.txt`.
fn included(line: &str) -> Option<&str> {
    let line = line.trim();
    let options = ["-r", "--requirement", "-c", "--constraint"];
    let rest = options.iter().find_map(|option| line.strip_prefix(option))?;
    let file = rest.trim_start_matches([' ', '=']).split(" #").next().unwrap_or_default().trim();
    (!file.is_empty() && !file.contains("://")).then_some(file)
}

/// Name and wish of one line; nothing for comments and options.
fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    if line.is_empty() || line.starts_with('#') || (line.starts_with('-') && !line.starts_with("-e ")) {
        return None;
    }
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(line.len());
    if end == 0 || line.starts_with(['.', '/']) || line.starts_with("-e ") || line[end..].starts_with("://") {
        return Some((line.to_owned(), String::new()));
    }
    let wish = line[end..].split(" --hash").next().unwrap_or_default().trim().trim_end_matches('\\').trim();
    Some((normal(&line[..end]), wish.to_owned()))
}

/// A package's name as PEP 503 compares it.
pub(crate) fn normal(name: &str) -> String {
    let lower = name.to_ascii_lowercase().replace(['_', '.'], "-");
    lower.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

impl Requirements {
    /// Names and wishes, for the layer's metadata.
    pub(crate) fn packages(&self) -> &BTreeMap<String, String> {
        &self.packages
    }

    /// Names.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<&str> {
        self.packages.keys().map(String::as_str).collect()
    }
}

/// What changed from the packages of the last build, in a few words: `+ httpx 0.28, - six, flask 3.0.2 -> 3.0.3`.
pub(crate) fn describe_change(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> String {
    let show = |name: &str, wish: &str| format!("{name} {}", wish.trim_start_matches('=')).trim().to_owned();
    let added =
        new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(n, w)| format!("+ {}", show(n, w)));
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name)).map(|(n, _)| format!("- {n}"));
    let moved = new.iter().filter_map(|(name, wish)| {
        let before = old.get(name).filter(|before| *before != wish)?;
        let or_any = |wish: &str| if wish.is_empty() { "any".to_owned() } else { show("", wish) };
        Some(format!("{name} {} -> {}", or_any(before), or_any(wish)))
    });
    let mut parts: Vec<String> = added.chain(gone).chain(moved).collect();
    let more = parts.len().saturating_sub(4);
    parts.truncate(4);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(text: &str) -> BTreeMap<String, String> {
        of_lines(&text.lines().map(str::to_owned).collect::<Vec<_>>()).packages
    }

    #[test]
    fn lines_are_names_and_wishes() {
        let read = packages("# c\nFlask_Login==0.6 # why\nuvicorn[standard]>=0.30\n--index-url x\n\nsix\n");
        let pairs: Vec<_> = read.iter().map(|(n, w)| format!("{n}|{w}")).collect();
        assert_eq!(pairs, ["flask-login|==0.6", "six|", "uvicorn|[standard]>=0.30"]);
        assert!(of_lines(&["-e .".into()]).local && of_lines(&["./lib".into()]).local);
        assert!(!of_lines(&["six".into()]).local);
    }

    #[test]
    fn included_files_count() {
        let app = tempfile::tempdir().unwrap();
        std::fs::write(app.path().join("requirements.txt"), "-r more.txt\nflask").unwrap();
        std::fs::write(app.path().join("more.txt"), "-r requirements.txt\nsix").unwrap();
        let before = read(app.path()).unwrap();
        assert_eq!(before.names(), ["flask", "six"]);
        std::fs::write(app.path().join("more.txt"), "six==1").unwrap();
        assert_ne!(read(app.path()).unwrap().key, before.key);
    }

    #[test]
    fn a_change_is_told_in_a_few_words() {
        let change = |old, new| describe_change(&packages(old), &packages(new));
        assert_eq!(change("flask==3.0.2", "flask==3.0.3\nhttpx==0.28"), "+ httpx 0.28, flask 3.0.2 -> 3.0.3");
        assert_eq!(change("six\nflask", "flask>=3"), "- six, flask any -> >=3");
        assert_eq!(change("", "a\nb\nc\nd\ne\nf"), "+ a, + b, + c, + d, and 2 more");
        assert_eq!(change("a", "a"), "");
    }
}
