//! What the source asks for: packages, scripts and a version of Node.js.

use crate::faults;
use hythe_buildpack::{BuildpackError, Fault, read_optional};
use node_semver::Range;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Most scripts that are followed where one calls another.
const MAX_CALLS: usize = 5;

/// A Node.js tool as its files describe it.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// The version of Node.js that is asked for, with its text.
    pub(crate) node: Option<(Range, String)>,
    pub(crate) scripts: BTreeMap<String, String>,
    pub(crate) main: Option<String>,
    /// The npm lockfile.
    pub(crate) lockfile: Option<&'static str>,
    /// A lockfile of another package manager.
    pub(crate) other_lockfile: Option<&'static str>,
    /// Packages to install, by name; those for development among them.
    pub(crate) packages: BTreeMap<String, String>,
    /// Whether packages must be installed beside the source.
    pub(crate) in_place: bool,
    /// Whether another language's files are there too.
    pub(crate) is_helper: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PackageJson {
    engines: BTreeMap<String, serde_json::Value>,
    scripts: BTreeMap<String, serde_json::Value>,
    main: Option<String>,
    dependencies: BTreeMap<String, serde_json::Value>,
    dev_dependencies: BTreeMap<String, serde_json::Value>,
    optional_dependencies: BTreeMap<String, serde_json::Value>,
    workspaces: Option<serde_json::Value>,
}

/// Reads the source's files.
pub(crate) fn determine_project(app: &Path) -> Result<Project, BuildpackError> {
    let text = read_optional(&app.join("package.json"))?.unwrap_or_default();
    let file: PackageJson =
        serde_json::from_str(&text).map_err(|error| faults::package_json_invalid(&error))?;
    let scripts = strings(&file.scripts);
    let packages: BTreeMap<String, String> =
        [&file.dependencies, &file.dev_dependencies, &file.optional_dependencies]
            .into_iter()
            .flat_map(strings)
            .collect();
    let present = |names: &[&'static str]| names.iter().copied().find(|name| app.join(name).is_file());
    if let Some((name, wish)) = packages.iter().find(|(_, wish)| is_workspace(wish)) {
        return Err(faults::workspaces_unsupported(name, wish).into());
    }
    // Scripts of the source's own installation expect to run in the source, as do packages that lie in it.
    let own_scripts = ["preinstall", "install", "postinstall", "prepare", "build"];
    let local =
        |wish: &String| wish.starts_with("file:") || wish.starts_with("link:") || wish.starts_with('.');
    let in_place = own_scripts.iter().any(|name| scripts.contains_key(*name))
        || file.workspaces.is_some()
        || packages.values().any(local);
    Ok(Project {
        node: determine_node(app, &file)?,
        main: file.main,
        lockfile: present(&["npm-shrinkwrap.json", "package-lock.json"]),
        other_lockfile: present(&["yarn.lock", "pnpm-lock.yaml", "bun.lock"]),
        is_helper: present(&["requirements.txt", "pyproject.toml", "Gemfile", "composer.json", "go.mod"])
            .is_some(),
        in_place,
        packages,
        scripts,
    })
}

/// Whether a wish is in words that pnpm and yarn know and npm does not.
fn is_workspace(wish: &str) -> bool {
    ["workspace:", "catalog:", "portal:", "patch:"].iter().any(|start| wish.starts_with(start))
}

fn strings(table: &BTreeMap<String, serde_json::Value>) -> BTreeMap<String, String> {
    table.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn determine_node(app: &Path, file: &PackageJson) -> Result<Option<(Range, String)>, BuildpackError> {
    let engines = file
        .engines
        .get("node")
        .and_then(|value| value.as_str())
        .map(|text| (text.to_owned(), "package.json"));
    let wanted = match engines {
        Some(wanted) => Some(wanted),
        None => version_file(app)?,
    };
    let Some((text, name)) = wanted else { return Ok(None) };
    let plain = text.trim().trim_start_matches('v');
    match plain.parse::<Range>() {
        Ok(range) => Ok(Some((range, plain.to_owned()))),
        Err(_) => Err(faults::version_invalid(&text, name).into()),
    }
}

/// The version in `.nvmrc` or `.node-version`; what only asks for a recent one leaves the choice to the stack.
fn version_file(app: &Path) -> Result<Option<(String, &'static str)>, BuildpackError> {
    for name in [".nvmrc", ".node-version"] {
        let text = read_optional(&app.join(name))?.unwrap_or_default();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        match line.map(|line| (line, line.strip_prefix("lts/"))) {
            None | Some(("node" | "stable" | "lts", _)) => {}
            Some((_, Some(line))) if line == "*" || line.starts_with('-') => {}
            Some((text, Some(line))) => {
                let major = long_term(line).ok_or_else(|| faults::version_invalid(text, name))?;
                return Ok(Some((major.to_string(), name)));
            }
            Some((text, None)) => return Ok(Some((text.to_owned(), name))),
        }
    }
    Ok(None)
}

/// The major version of a long-term line, by the name that Node.js gave it.
fn long_term(name: &str) -> Option<usize> {
    const NAMES: [&str; 11] = [
        "argon", "boron", "carbon", "dubnium", "erbium", "fermium", "gallium", "hydrogen", "iron", "jod",
        "krypton",
    ];
    NAMES.iter().position(|known| name.eq_ignore_ascii_case(known)).map(|place| 4 + 2 * place)
}

impl Project {
    /// The line that starts the web process, where something here says it or something else is going to.
    pub(crate) fn web_line(&self, app: &Path) -> Result<Option<String>, Fault> {
        match self.start_line(app) {
            Some(line) => Ok(Some(line)),
            // Another language starts it, and Node.js is there for its front end; or a Procfile does.
            None if self.is_helper || app.join("Procfile").is_file() => Ok(None),
            None => Err(faults::no_start_script(self)),
        }
    }

    /// Whether all that comes of it seems to be a folder of files: it is built, and nothing of it is started.
    pub(crate) fn makes_site(&self, app: &Path) -> bool {
        // A `main` in a folder of its own is what a build makes of a server in another language.
        let is_server = self.main.as_deref().is_some_and(|main| main.trim_start_matches("./").contains('/'));
        let started = is_server || self.start_line(app).is_some() || app.join("Procfile").is_file();
        self.scripts.contains_key("build") && !started
    }

    /// The line that a script comes to, with what comes before it. A script that only calls another is that other one:
    /// a process below npm is not told when it is to end.
    fn script_line(&self, name: &str, calls: usize) -> Option<String> {
        let line = self.scripts.get(name)?;
        let called = called_script(line).filter(|_| calls > 0);
        let line =
            called.and_then(|called| self.script_line(called, calls - 1)).unwrap_or_else(|| line.clone());
        let before = self.scripts.get(&format!("pre{name}"));
        Some(before.map_or_else(|| line.clone(), |before| format!("{before} && {line}")))
    }

    /// The line that starts the web process: the `start` script with what comes before it, else `server.js`, else `main`.
    pub(crate) fn start_line(&self, app: &Path) -> Option<String> {
        if let Some(start) = self.script_line("start", MAX_CALLS) {
            return Some(start);
        }
        let main = self.main.as_deref().filter(|main| is_plain(main));
        ["server.js"]
            .into_iter()
            .chain(main)
            .find(|file| app.join(file).is_file())
            .map(|file| format!("exec node {file}"))
    }
}

/// The script that a line calls, where it does nothing else.
fn called_script(line: &str) -> Option<&str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["npm" | "pnpm" | "yarn", "start"] => Some("start"),
        ["npm" | "pnpm" | "yarn", "run" | "run-script", name] => Some(name),
        _ => None,
    }
}

/// Whether a file's name means nothing else to a shell.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) && !name.starts_with(['-', '/'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Project) {
        let app = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(app.path().join(name), text).unwrap();
        }
        let project = determine_project(app.path()).unwrap();
        (app, project)
    }

    fn start(package: &str, more: &[(&str, &str)]) -> Option<String> {
        let files: Vec<_> = [("package.json", package)].into_iter().chain(more.iter().copied()).collect();
        let (app, project) = project(&files);
        project.start_line(app.path())
    }

    #[test]
    fn the_start_script_comes_first() {
        let scripts = r#"{"scripts": {"start": "node a.js", "prestart": "node b.js"}, "main": "m.js"}"#;
        assert_eq!(start(scripts, &[("server.js", "")]).as_deref(), Some("node b.js && node a.js"));
        assert_eq!(start("{}", &[("server.js", "")]).as_deref(), Some("exec node server.js"));
        assert_eq!(start(r#"{"main": "m.js"}"#, &[("m.js", "")]).as_deref(), Some("exec node m.js"));
        assert_eq!(start(r#"{"main": "m.js"}"#, &[]), None);
        assert_eq!(start(r#"{"main": "a;id"}"#, &[("a;id", "")]), None);
    }

    #[test]
    fn scripts_that_call_scripts_are_followed() {
        let scripts = |scripts: &str| start(&format!("{{\"scripts\": {{{scripts}}}}}"), &[]);
        let prod = r#""start:prod": "node dist/main", "prestart:prod": "node migrate""#;
        let followed = scripts(&format!(r#""start": "npm run start:prod", {prod}"#));
        assert_eq!(followed.as_deref(), Some("node migrate && node dist/main"));
        let pnpm = scripts(&format!(r#""start": "pnpm run start:prod", {prod}"#));
        assert_eq!(pnpm, followed);
        for kept in ["npm run nothing", "npm run start:prod -- -v", "npm run a && npm run b"] {
            assert_eq!(scripts(&format!(r#""start": "{kept}", {prod}"#)).as_deref(), Some(kept));
        }
        assert_eq!(scripts(r#""start": "npm start""#).as_deref(), Some("npm start"), "it ends");
    }

    #[test]
    fn versions_are_ranges() {
        let node = |package: &str, nvmrc: &str| {
            let (_app, project) = project(&[("package.json", package), (".nvmrc", nvmrc)]);
            project.node.map(|(range, _)| range.to_string())
        };
        assert_eq!(node("{}", ""), None);
        for recent in ["lts/*\n", "lts/-1", "node", "# lts/iron"] {
            assert_eq!(node("{}", recent), None, "{recent}");
        }
        let major = |name: &str, version: &str| {
            let range: Range = node("{}", name).unwrap().parse().unwrap();
            range.satisfies(&version.parse().unwrap())
        };
        assert!(major("lts/iron\n", "20.9.0") && !major("lts/iron", "22.0.0"));
        assert!(major("lts/Argon", "4.9.1") && major("lts/krypton", "24.1.0"));
        assert!(node(r#"{"engines": {"node": ">=20 <25"}}"#, "18").unwrap().contains("20"));
        let range: Range = node("{}", "v22\n").unwrap().parse().unwrap();
        assert!(range.satisfies(&"22.4.1".parse().unwrap()) && !range.satisfies(&"23.0.0".parse().unwrap()));
    }

    #[test]
    fn what_npm_does_not_know_is_refused() {
        let fault = |package: &str| {
            let app = tempfile::tempdir().unwrap();
            std::fs::write(app.path().join("package.json"), package).unwrap();
            match determine_project(app.path()) {
                Err(BuildpackError::Fault(fault)) => Some(fault.id),
                _ => None,
            }
        };
        let (workspaces, line) = ("node/workspaces-unsupported", "node/version-invalid");
        assert_eq!(fault(r#"{"dependencies": {"own": "workspace:*"}}"#), Some(workspaces));
        assert_eq!(fault(r#"{"devDependencies": {"vite": "catalog:"}}"#), Some(workspaces));
        assert_eq!(fault(r#"{"dependencies": {"own": "file:./own"}, "workspaces": ["own"]}"#), None);
        let (app, _) = project(&[("package.json", "{}")]);
        std::fs::write(app.path().join(".nvmrc"), "lts/zinc").unwrap();
        let error = determine_project(app.path()).unwrap_err();
        assert!(matches!(error, BuildpackError::Fault(fault) if fault.id == line));
    }

    #[test]
    fn a_procfile_takes_nothing_away() {
        let web = |package: &str, more: &[(&str, &str)]| {
            let files: Vec<_> = [("package.json", package)].into_iter().chain(more.iter().copied()).collect();
            let (app, project) = project(&files);
            project.web_line(app.path()).map_err(|fault| fault.id)
        };
        let (started, procfile) = (r#"{"scripts": {"start": "node a.js"}}"#, ("Procfile", "worker: x"));
        assert_eq!(web(started, &[procfile]), Ok(Some("node a.js".to_owned())));
        assert_eq!(web("{}", &[procfile]), Ok(None));
        assert_eq!(web("{}", &[("requirements.txt", "")]), Ok(None));
        assert_eq!(web("{}", &[]), Err("node/no-start-script"));
    }

    #[test]
    fn a_site_is_built_and_not_started() {
        let site = |package: &str, more: &[(&str, &str)]| {
            let files: Vec<_> = [("package.json", package)].into_iter().chain(more.iter().copied()).collect();
            let (app, project) = project(&files);
            project.makes_site(app.path())
        };
        let vite = r#"{"scripts": {"build": "vite build", "dev": "vite"}, "main": "index.js"}"#;
        assert!(site(vite, &[("index.html", "")]));
        assert!(!site(vite, &[("index.js", "")]) && !site(vite, &[("Procfile", "web: x")]));
        assert!(!site(r#"{"scripts": {"build": "x", "start": "y"}}"#, &[]));
        assert!(!site(r#"{"scripts": {"build": "tsc"}, "main": "./dist/main.js"}"#, &[]));
        assert!(!site("{}", &[]));
    }

    #[test]
    fn some_sources_are_installed_in_place() {
        let in_place = |package: &str| project(&[("package.json", package)]).1.in_place;
        assert!(!in_place(r#"{"dependencies": {"ms": "2"}, "scripts": {"start": "x", "test": "y"}}"#));
        assert!(in_place(r#"{"scripts": {"build": "vite build"}}"#));
        assert!(in_place(r#"{"dependencies": {"own": "file:./own"}}"#));
        assert!(in_place(r#"{"workspaces": ["a"]}"#));
    }
}
