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
    /// Whether a line leaves open which version it gets, so that the same text may mean another one tomorrow.
    pub(crate) open: bool,
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
    let asked: Vec<&str> = lines.iter().filter_map(|line| requirement(line)).collect();
    let packages: BTreeMap<_, _> = asked.iter().map(|line| parse(line)).collect();
    let (pinned, open): (Vec<&str>, Vec<&str>) =
        asked.iter().filter(|line| !is_local(line)).partition(|line| is_pinned(line));
    // A constraint may pin what a requirement leaves open.
    let pinned: BTreeSet<String> = pinned.into_iter().map(|line| parse(line).0).collect();
    Requirements {
        key: fingerprint(lines),
        lines: lines.to_vec(),
        local: asked.iter().any(|line| is_local(line)),
        open: open.into_iter().any(|line| !pinned.contains(&parse(line).0)),
        packages,
    }
}

/// The file that a line includes: `-r other.txt`, `-c constraints.txt`.
fn included(line: &str) -> Option<&str> {
    let line = line.trim();
    let options = ["-r", "--requirement", "-c", "--constraint"];
    let rest = options.iter().find_map(|option| line.strip_prefix(option))?;
    let file = rest.trim_start_matches([' ', '=']).split(" #").next().unwrap_or_default().trim();
    (!file.is_empty() && !file.contains("://")).then_some(file)
}

/// What one line asks for, without comment and hashes; nothing for comments and options.
fn requirement(line: &str) -> Option<&str> {
    let line = line.split(" #").next().unwrap_or_default().split(" --hash").next().unwrap_or_default();
    let line = line.trim().trim_end_matches('\\').trim();
    let is_option = line.starts_with('-') && editable(line).is_none();
    (!line.is_empty() && !line.starts_with('#') && !is_option).then_some(line)
}

/// The folder or address of a line that installs it as it lies.
fn editable(line: &str) -> Option<&str> {
    let rest = ["-e", "--editable"].iter().find_map(|option| line.strip_prefix(option))?;
    rest.starts_with([' ', '=']).then(|| rest.trim_start_matches([' ', '=']))
}

/// Name and wish of a requirement; what names no package is its own name.
fn parse(line: &str) -> (String, String) {
    let end = name_end(line);
    if end == 0 || is_path(line) || editable(line).is_some() || line[end..].starts_with("://") {
        return (line.to_owned(), String::new());
    }
    (normal(&line[..end]), line[end..].trim().to_owned())
}

fn name_end(line: &str) -> usize {
    line.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(line.len())
}

/// Where a requirement comes from, if it says so: `./lib`, `lib @ file:lib`, `git+https://example.org/lib.git`.
fn place(line: &str) -> Option<&str> {
    let line = editable(line).unwrap_or(line);
    let named = line.split_once('@').filter(|(name, _)| {
        let name = name.split('[').next().unwrap_or_default().trim();
        !name.is_empty() && name_end(name) == name.len()
    });
    let target = named.map_or(line, |(_, place)| place.trim());
    (named.is_some() || is_path(line) || line.contains("://") || line.starts_with("file:")).then_some(target)
}

/// Whether it is a path, as pip tells one from a name.
fn is_path(line: &str) -> bool {
    let path = line.split([';', ' ', '[', '<', '>', '=', '!', '~']).next().unwrap_or_default();
    let is_archive = [".whl", ".zip", ".tar.gz"].iter().any(|end| path.ends_with(end));
    let scheme = path.contains(':') || path.contains('@');
    (path.starts_with('.') || path.contains('/') || is_archive) && !scheme
}

/// Whether it comes from the source, whose files no key knows.
fn is_local(line: &str) -> bool {
    let outside = |place: &str| place.contains("://") && !place.starts_with("file:");
    place(line).is_some_and(|place| !outside(place))
}

/// Whether a line means the same thing for ever: one version, one commit, or a file that its hash or its name ties down.
fn is_pinned(line: &str) -> bool {
    let Some(place) = place(line) else {
        let wish = &line[name_end(line)..];
        let wish = wish.split(';').next().unwrap_or_default();
        let wish = wish.split_once(']').map_or(wish, |(_, wish)| wish).trim();
        return wish.starts_with("==") && !wish.contains('*');
    };
    let scheme = place.split("://").next().unwrap_or_default();
    if scheme.contains('+') {
        let commit = place.rsplit_once('@').map_or("", |(_, reference)| reference);
        return commit.bytes().take_while(u8::is_ascii_hexdigit).count() >= 40;
    }
    let (file, hash) = place.split_once('#').unwrap_or((place, ""));
    hash.contains("sha") || Path::new(file).extension().is_some_and(|e| e == "whl")
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
    }

    #[test]
    fn packages_of_the_source_are_known() {
        for local in [
            "-e .",
            "--editable ./lib",
            "./lib",
            ".",
            "libs/foo",
            "libs/foo[extra]",
            "../x",
            "wheels/a-1-py3.whl",
            "a-1-py3-none-any.whl",
            "foo @ file:./foo",
            "foo@file:///workspace/foo",
            "file:foo",
        ] {
            assert!(of_lines(&[local.into()]).local, "{local}");
        }
        for other in [
            "six",
            "six==1.0",
            "six ; platform_machine == 'a/b'",
            "git+https://x/y",
            "foo @ https://x/y.whl",
            "-e git+https://x/y#egg=y",
            "--index-url https://x/simple",
            "# ./lib",
        ] {
            assert!(!of_lines(&[other.into()]).local, "{other}");
        }
    }

    #[test]
    fn what_may_mean_another_version_tomorrow_is_open() {
        let commit = "0123456789012345678901234567890123456789";
        let at_commit = format!("foo @ git+https://x/foo.git@{commit}");
        for pinned in [
            "six==1.0",
            "six == 1.0 ; python_version < '4'",
            "uvicorn[standard]==0.30",
            "six===1.0",
            &at_commit,
            "foo @ https://x/foo-1-py3-none-any.whl",
            "https://x/foo.zip#sha256=00",
            "six==1 --hash=sha256:00",
        ] {
            assert!(!of_lines(&[pinned.into()]).open, "{pinned}");
        }
        for open in [
            "six",
            "six>=1",
            "six==1.*",
            "six~=1.0",
            "uvicorn[standard]",
            "git+https://x/y",
            "foo @ git+https://x/y@main",
            "-e git+ssh://git@x/y#egg=y",
            "https://x/archive/main.zip",
        ] {
            assert!(of_lines(&[open.into()]).open, "{open}");
        }
        let constrained = ["flask".to_owned(), "flask==3.0.3".to_owned()];
        assert!(!of_lines(&constrained).open, "a constraint pins it");
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
