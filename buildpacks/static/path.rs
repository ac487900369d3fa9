//! From the path of a request to a file of the site.
//!
//! What a request names is opened only if it lies in the site when every symlink is followed, and no name of it begins
//! with a dot.

use std::path::{Path, PathBuf};

/// What a request's path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file to send.
    File(PathBuf),
    /// A folder that was named without its slash: the address to go to.
    Folder(String),
    /// Nothing.
    Missing,
}

/// Resolves a request's path in a site whose root is canonical.
pub(crate) fn resolve(root: &Path, request: &str) -> Target {
    let Some(names) = names(request) else { return Target::Missing };
    let path = names.iter().fold(root.to_path_buf(), |path, name| path.join(name));
    let Some(path) = within(root, &path) else {
        // `/about` finds about.html.
        let page = names.split_last().filter(|_| !request.ends_with('/')).map(|(last, folders)| {
            let folder = folders.iter().fold(root.to_path_buf(), |path, name| path.join(name));
            folder.join(format!("{last}.html"))
        });
        return file(page.and_then(|page| within(root, &page)));
    };
    if !path.is_dir() {
        let folder_was_meant = request.ends_with('/') && request != "/";
        return if folder_was_meant { Target::Missing } else { file(Some(path)) };
    }
    match within(root, &path.join("index.html")) {
        Some(_) if !request.ends_with('/') => {
            let last = request.rsplit('/').next().unwrap_or_default();
            Target::Folder(format!("./{last}/"))
        }
        index => file(index),
    }
}

fn file(path: Option<PathBuf>) -> Target {
    path.filter(|path| path.is_file()).map_or(Target::Missing, Target::File)
}

/// The real path of a file, where it lies in the root.
fn within(root: &Path, path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|real| real.starts_with(root))
}

/// The names of a request's path, decoded; nothing where one of them is no plain, visible name.
fn names(request: &str) -> Option<Vec<String>> {
    let decoded = request.split('/').filter(|name| !name.is_empty()).map(decode);
    let names: Vec<String> = decoded.collect::<Option<_>>()?;
    let plain = |name: &String| !name.starts_with('.') && !name.contains(['/', '\0', '\\']);
    // The one hidden folder that the web knows by name (RFC 8615).
    let known = |i: usize, name: &String| i == 0 && name == ".well-known";
    names.iter().enumerate().all(|(i, name)| plain(name) || known(i, name)).then_some(names)
}

/// Decodes `%41`; nothing where that is malformed or not UTF-8.
fn decode(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn site() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let root = folder.path().join("site");
        fs::create_dir_all(root.join("docs")).unwrap();
        fs::create_dir_all(root.join("empty")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for name in ["index.html", "docs/index.html", "about.html", "a b.txt", ".git/config", ".env"] {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("../secret", root.join("leak")).unwrap();
        std::os::unix::fs::symlink("about.html", root.join("alias.html")).unwrap();
        (folder, root.canonicalize().unwrap())
    }

    #[test]
    fn pages_are_found() {
        let (_folder, root) = site();
        let found = |request| resolve(&root, request);
        let file = |name: &str| Target::File(root.join(name));
        assert_eq!(found("/"), file("index.html"));
        assert_eq!(found("/docs/"), file("docs/index.html"));
        assert_eq!(found("/docs"), Target::Folder("./docs/".into()));
        assert_eq!(found("/about"), file("about.html"));
        assert_eq!(found("/alias.html"), file("about.html"), "a symlink within the site");
        assert_eq!(found("/a%20b.txt"), file("a b.txt"));
    }

    #[test]
    fn nothing_outside_and_nothing_hidden_is_served() {
        let (_folder, root) = site();
        for request in [
            "/../secret",
            "/%2e%2e/secret",
            "/docs/../../secret",
            "/..%2fsecret",
            "/leak",
            "/.git/config",
            "/.env",
            "/%2eenv",
            "/empty/",
            "/about.html/",
            "/index.html%00",
            "/%zz",
            "//etc/passwd",
            "/nothing",
        ] {
            assert_eq!(resolve(&root, request), Target::Missing, "{request}");
        }
    }
}
