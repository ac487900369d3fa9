//! What a buildpack's or an image's process sees in its environment: the rules for env folders, as pure functions.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An environment. Values are raw bytes.
pub type Env = BTreeMap<OsString, OsString>;

/// The files of one env folder: name, suffix included, to contents.
pub type EnvDir = BTreeMap<OsString, Vec<u8>>;

/// Variables of the lifecycle's own environment that a buildpack sees, besides the path variables.
pub const BUILD_PASSES: [&str; 9] = [
    "CNB_STACK_ID",
    "HOSTNAME",
    "HOME",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// Folders of a layer and the variables that they join, while buildpacks run.
pub const BUILD_ROOTS: [(&str, &[&str]); 4] = [
    ("bin", &["PATH"]),
    ("lib", &["LD_LIBRARY_PATH", "LIBRARY_PATH"]),
    ("include", &["CPATH"]),
    ("pkgconfig", &["PKG_CONFIG_PATH"]),
];

/// Folders of a layer and the variables that they join, when an image's process starts.
pub const LAUNCH_ROOTS: [(&str, &[&str]); 2] = [("bin", &["PATH"]), ("lib", &["LD_LIBRARY_PATH"])];

/// Variables that the launcher does not pass on.
pub const LAUNCH_HIDES: [&str; 6] = [
    "CNB_LAYERS_DIR",
    "CNB_APP_DIR",
    "CNB_PROCESS_TYPE",
    "CNB_PLATFORM_API",
    "CNB_DEPRECATION_MODE",
    "CNB_EXEC_ENV",
];

/// Folders that the launcher takes out of `PATH`.
pub const LAUNCH_PATHS: [&str; 2] = ["/cnb/process", "/cnb/lifecycle"];

/// What a file without a suffix does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// Sets the variable: env folders of layers.
    Override,
    /// Sets the variable where nothing or an empty value stands: `/cnb/build-config/env`.
    Default,
}

/// The environment that buildpacks start from: what may pass of the lifecycle's own.
pub fn for_build(own: &Env) -> Env {
    let path = |name: &OsStr| BUILD_ROOTS.iter().flat_map(|(_, names)| names.iter()).any(|n| name == *n);
    let passes = |name: &OsStr| BUILD_PASSES.iter().any(|n| name == *n) || path(name);
    own.iter().filter(|(name, _)| passes(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// The environment that an image's process starts from: the container's, without what is the launcher's.
pub fn for_launch(own: &Env) -> Env {
    let mut env: Env = own
        .iter()
        .filter(|(name, _)| !LAUNCH_HIDES.iter().any(|hidden| name == hidden))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    if let Some(path) = env.get_mut(OsStr::new("PATH")) {
        let parts = path.as_bytes().split(|b| *b == b':');
        let kept: Vec<_> = parts.filter(|part| !LAUNCH_PATHS.iter().any(|p| p.as_bytes() == *part)).collect();
        *path = OsString::from_vec(kept.join(&b':'));
    }
    env
}

/// Puts a folder before a path variable's value.
pub fn prepend_path(env: &mut Env, name: &str, dir: &OsStr) {
    join(env, OsStr::new(name), dir.as_bytes(), b":", true);
}

/// Adds the folders of one layer; `exists` tells which of them it has.
pub fn add_layer(
    env: &mut Env,
    roots: &[(&str, &[&str])],
    layer: &std::path::Path,
    exists: &dyn Fn(&std::path::Path) -> bool,
) {
    for (folder, names) in roots {
        let dir = layer.join(folder);
        if exists(&dir) {
            for name in *names {
                prepend_path(env, name, dir.as_os_str());
            }
        }
    }
}

/// Applies an env folder, file by file in the order of their names.
///
/// Suffixes: `append`, `prepend`, `default`, `override`; `delim` holds what stands between the parts. A file with any
/// other suffix is left alone.
pub fn apply(env: &mut Env, dir: &EnvDir, plain: Plain) {
    for (file, value) in dir {
        let bytes = file.as_bytes();
        let (name, suffix) = match bytes.iter().position(|b| *b == b'.') {
            Some(dot) => (&bytes[..dot], Some(&bytes[dot + 1..])),
            None => (bytes, None),
        };
        if name.is_empty() || name.contains(&b'=') || value.contains(&0) {
            continue;
        }
        let delim = || {
            let file = [name, b".delim"].concat();
            dir.get(OsStr::from_bytes(&file)).map(Vec::as_slice).unwrap_or_default()
        };
        let key = OsStr::from_bytes(name);
        match (suffix, plain) {
            (Some(b"prepend"), _) => join(env, key, value, delim(), true),
            (Some(b"append"), _) => join(env, key, value, delim(), false),
            (Some(b"override"), _) | (None, Plain::Override) => {
                env.insert(key.to_owned(), OsString::from_vec(value.clone()));
            }
            (Some(b"default"), _) | (None, Plain::Default) => {
                if env.get(key).is_none_or(|current| current.is_empty()) {
                    env.insert(key.to_owned(), OsString::from_vec(value.clone()));
                }
            }
            (Some(_), _) => {}
        }
    }
}

/// Applies the platform's environment: a path variable goes before what stands, any other replaces it.
pub fn apply_platform(env: &mut Env, dir: &EnvDir) {
    for (name, value) in dir {
        if name.is_empty() || name.as_bytes().contains(&b'=') || value.contains(&0) {
            continue;
        }
        if BUILD_ROOTS.iter().any(|(_, names)| names.iter().any(|n| name == *n)) {
            join(env, name, value, b":", true);
        } else {
            env.insert(name.clone(), OsString::from_vec(value.clone()));
        }
    }
}

fn join(env: &mut Env, name: &OsStr, value: &[u8], delim: &[u8], before: bool) {
    let current = env.get(name).map(|v| v.as_bytes()).unwrap_or_default();
    let joined = match (current.is_empty(), before) {
        (true, _) => value.to_vec(),
        (false, true) => [value, delim, current].concat(),
        (false, false) => [current, delim, value].concat(),
    };
    env.insert(name.to_owned(), OsString::from_vec(joined));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(n, v)| (n.into(), v.into())).collect()
    }

    fn dir(pairs: &[(&str, &str)]) -> EnvDir {
        pairs.iter().map(|(n, v)| (n.into(), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn suffixes_do_what_they_say() {
        let mut e = env(&[("A", "a"), ("B", "b"), ("C", "c"), ("D", ""), ("F", "f")]);
        let files = dir(&[
            ("A.append", "2"),
            ("B.prepend", "2"),
            ("B.delim", ":"),
            ("C", "2"),
            ("D.default", "2"),
            ("E.append", "2"),
            ("E.delim", ","),
            ("F.default", "2"),
            ("G.override", "2"),
            ("H.else", "2"),
        ]);
        apply(&mut e, &files, Plain::Override);
        let expected =
            [("A", "a2"), ("B", "2:b"), ("C", "2"), ("D", "2"), ("E", "2"), ("F", "f"), ("G", "2")];
        assert_eq!(e, env(&expected));
    }

    #[test]
    fn build_config_only_fills_gaps_without_a_suffix() {
        let mut e = env(&[("A", "a")]);
        apply(&mut e, &dir(&[("A", "2"), ("B", "2"), ("C.override", "")]), Plain::Default);
        assert_eq!(e, env(&[("A", "a"), ("B", "2"), ("C", "")]));
    }

    #[test]
    fn the_platform_prepends_paths_and_replaces_the_rest() {
        let mut e = env(&[("PATH", "/bin"), ("X", "1")]);
        apply_platform(&mut e, &dir(&[("PATH", "/p"), ("X", "2"), ("CPATH", "/i")]));
        assert_eq!(e, env(&[("PATH", "/p:/bin"), ("X", "2"), ("CPATH", "/i")]));
    }

    #[test]
    fn layers_add_the_folders_that_they_have() {
        let mut e = env(&[("PATH", "/bin")]);
        let layer = std::path::Path::new("/layers/a/b");
        add_layer(&mut e, &BUILD_ROOTS, layer, &|dir| !dir.ends_with("include"));
        assert_eq!(e[OsStr::new("PATH")], "/layers/a/b/bin:/bin");
        assert_eq!(e[OsStr::new("LIBRARY_PATH")], "/layers/a/b/lib");
        assert!(!e.contains_key(OsStr::new("CPATH")));
    }

    #[test]
    fn buildpacks_see_little_of_the_lifecycle() {
        let own =
            env(&[("PATH", "/bin"), ("HOME", "/h"), ("SECRET", "s"), ("no_proxy", "x"), ("CNB_X", "1")]);
        assert_eq!(for_build(&own), env(&[("PATH", "/bin"), ("HOME", "/h"), ("no_proxy", "x")]));
    }

    #[test]
    fn processes_see_nothing_of_the_launcher() {
        let own = env(&[
            ("PATH", "/cnb/process:/cnb/lifecycle:/usr/bin:/bin"),
            ("CNB_APP_DIR", "/w"),
            ("CNB_PLATFORM_API", "0.15"),
            ("PORT", "8080"),
        ]);
        assert_eq!(for_launch(&own), env(&[("PATH", "/usr/bin:/bin"), ("PORT", "8080")]));
    }

    #[test]
    fn values_are_raw_bytes_and_names_are_checked() {
        let mut e = Env::new();
        let mut files = EnvDir::new();
        files.insert("RAW".into(), vec![0xff, b'\n']);
        files.insert("NUL".into(), vec![0]);
        files.insert("A=B".into(), vec![b'x']);
        apply(&mut e, &files, Plain::Override);
        assert_eq!(e.len(), 1);
        assert_eq!(e[OsStr::new("RAW")].as_bytes(), [0xff, b'\n']);
    }
}
