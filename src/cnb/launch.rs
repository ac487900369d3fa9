//! launch.toml: processes, slices and labels of the image; and how those of several buildpacks become one list.

use crate::{BuildpackId, FormatError, ProcessName, read};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A process of an image, as metadata.toml and the build label keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Process {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ProcessName,
    /// Program and the arguments that it always gets.
    pub command: Vec<String>,
    /// Arguments that a user's replace.
    #[serde(default)]
    pub args: Vec<String>,
    /// Whether it starts without a shell; always so from API 0.9 on.
    #[serde(default)]
    pub direct: bool,
    /// The buildpack that brought it.
    pub buildpack_id: BuildpackId,
    /// Where it starts; the app's folder where missing.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "working-dir")]
    pub working_dir: Option<String>,
    /// Execution environments that it is for (API 0.12); empty or `*` is all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec_env: Vec<String>,
}

impl Process {
    /// Whether it may run in this execution environment.
    pub fn runs_in(&self, exec_env: &str) -> bool {
        crate::buildpack::includes(&self.exec_env, exec_env)
    }
}

/// Files of the app that get a layer of their own: globs relative to the app's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The globs.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// A label of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// launch.toml, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchToml {
    /// Processes in the sequence in which they stand, each with whether it is the default.
    pub processes: Vec<(Process, bool)>,
    /// Slices of the app.
    pub slices: Vec<Slice>,
    /// Labels of the image.
    pub labels: Vec<Label>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    processes: Vec<Entry>,
    #[serde(default)]
    slices: Vec<Slice>,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(rename = "type")]
    kind: ProcessName,
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    default: bool,
    direct: Option<toml::Value>,
    working_dir: Option<String>,
    #[serde(default)]
    exec_env: Vec<String>,
}

impl LaunchToml {
    /// Reads the launch.toml of a buildpack of API 0.9 or later.
    pub fn parse(text: &str, buildpack: &BuildpackId) -> Result<Self, FormatError> {
        let file: File = read("launch.toml", text)?;
        if file.processes.iter().filter(|entry| entry.default).count() > 1 {
            return Err(FormatError::new("launch.toml", "more than one process is the default"));
        }
        let processes = file.processes.into_iter().map(|entry| process(entry, buildpack));
        Ok(Self { processes: processes.collect::<Result<_, _>>()?, slices: file.slices, labels: file.labels })
    }
}

fn process(entry: Entry, buildpack: &BuildpackId) -> Result<(Process, bool), FormatError> {
    let fail = |reason: String| FormatError::new("launch.toml", reason);
    if entry.direct.is_some() {
        let reason = format!("process {}: the key `direct` is gone since Buildpack API 0.9", entry.kind);
        return Err(fail(reason));
    }
    if entry.command.first().is_none_or(String::is_empty) {
        return Err(fail(format!("process {}: its command is empty", entry.kind)));
    }
    let texts = entry.command.iter().chain(&entry.args).chain(&entry.working_dir);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(fail(format!("process {}: a NUL in its command", entry.kind)));
    }
    let process = Process {
        kind: entry.kind,
        command: entry.command,
        args: entry.args,
        direct: true,
        buildpack_id: buildpack.clone(),
        working_dir: entry.working_dir,
        exec_env: entry.exec_env,
    };
    Ok((process, entry.default))
}

/// The processes of an image while buildpacks add theirs: of a type, the last wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    by_kind: BTreeMap<ProcessName, Process>,
    default: Option<ProcessName>,
}

impl Processes {
    /// Adds a buildpack's processes. A default stays until a later one, or until its type is redefined without it.
    pub fn add(&mut self, processes: impl IntoIterator<Item = (Process, bool)>) {
        for (process, default) in processes {
            if default {
                self.default = Some(process.kind.clone());
            } else if self.default.as_ref() == Some(&process.kind) {
                self.default = None;
            }
            self.by_kind.insert(process.kind.clone(), process);
        }
    }

    /// The type that the buildpacks made the default.
    pub fn default_kind(&self) -> Option<&ProcessName> {
        self.default.as_ref()
    }

    /// All of them, sorted by type.
    pub fn into_list(self) -> Vec<Process> {
        self.by_kind.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LaunchToml, FormatError> {
        LaunchToml::parse(text, &"a/b".parse().unwrap())
    }

    fn of(text: &str) -> Vec<(Process, bool)> {
        parse(text).unwrap().processes
    }

    const WEB: &str = "[[processes]]\ntype = \"web\"\ncommand = [\"serve\"]\n";

    #[test]
    fn processes_slices_and_labels_are_read() {
        let text = format!(
            "{WEB}default = true\nargs = [\"x\"]\nworking-dir = \"/w\"\n[[slices]]\npaths = [\"*.css\"]\n\
             [[labels]]\nkey = \"k\"\nvalue = \"v\"\n"
        );
        let launch = parse(&text).unwrap();
        let (process, default) = &launch.processes[0];
        assert!(*default && process.direct);
        assert_eq!(process.working_dir.as_deref(), Some("/w"));
        assert_eq!((launch.slices.len(), launch.labels.len()), (1, 1));
    }

    #[test]
    fn what_older_apis_allowed_is_an_error() {
        assert!(parse(&format!("{WEB}direct = false\n")).unwrap_err().reason.contains("`direct`"));
        assert!(parse("[[processes]]\ntype = \"web\"\ncommand = \"serve\"\n").is_err());
        assert!(parse("[[processes]]\ntype = \"web\"\ncommand = []\n").is_err());
        assert!(parse("[[processes]]\ntype = \"../web\"\ncommand = [\"a\"]\n").is_err());
    }

    #[test]
    fn one_default_a_buildpack() {
        let two = format!("{WEB}default = true\n{}default = true\n", WEB.replace("web", "w2"));
        assert!(parse(&two).is_err());
    }

    #[test]
    fn of_a_type_the_last_wins() {
        let mut processes = Processes::default();
        processes.add(of(&format!("{WEB}default = true\n")));
        processes.add(of(&WEB.replace("web", "aside")));
        assert_eq!(processes.default_kind().map(ProcessName::as_str), Some("web"));
        processes.add(of(&WEB.replace("serve", "other")));
        assert_eq!(processes.default_kind(), None);
        let list = processes.into_list();
        assert_eq!(list.iter().map(|p| p.kind.as_str()).collect::<Vec<_>>(), ["aside", "web"]);
        assert_eq!(list[1].command, ["other"]);
    }
}
