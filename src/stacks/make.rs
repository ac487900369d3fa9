//! Makes a stack's layers from nothing but its definition and the mirrors.
//!
//! Enter at [`make`]. The result is a folder with `index.json` and a file for each layer: the form in which layers are
//! kept in the cache folder too.

use crate::bootstrap::{RUN_ARCHIVE, TRACES, bootstrap};
use crate::fetch::fetch;
use crate::layer::write_layer;
use crate::tree::{Archive, Content, Entry, Kind, Tree};
use crate::{Definition, Egress, Mirrors, StackError, StackLayer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Names of the run image's shared libraries, in the build image.
const RUN_LIBRARIES: &str = "usr/share/hythe/run-libraries";

/// `index.json` of a folder with finished layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finished {
    /// Key of the definition.
    pub(crate) key: String,
    /// The day on which they were made (UTC), as `20261120`.
    pub(crate) day: String,
    /// The only layer of the run image, the lower one of the build image.
    pub(crate) run: StackLayer,
    /// The upper layer of the build image.
    pub(crate) build: StackLayer,
    /// Debian packages of the run image, as `name=version`, sorted.
    pub(crate) run_packages: Vec<String>,
    /// Debian packages of the build image.
    pub(crate) build_packages: Vec<String>,
}

impl Finished {
    /// Reads the index of a folder.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).ok()?).ok()
    }

    /// Whether the layers are there and are what the index says; it reads them whole.
    pub(crate) fn is_sound(&self, folder: &Path) -> bool {
        [&self.run, &self.build].into_iter().all(|layer| {
            let hash = sha256(&Self::file(folder, layer));
            hash.is_ok_and(|hash| hash == layer.digest.hex())
        })
    }

    /// The file of a layer.
    pub(crate) fn file(folder: &Path, layer: &StackLayer) -> PathBuf {
        folder.join(layer.digest.hex())
    }
}

/// The SHA-256 of a file, in hexadecimal digits.
fn sha256(path: &Path) -> io::Result<String> {
    use sha2::Digest;
    use std::fmt::Write;
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 20]);
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Makes the layers in `folder`, which must be empty.
pub(crate) async fn make(
    definition: &Definition,
    mirrors: &Mirrors,
    egress: &Egress,
    folder: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Finished, StackError> {
    let mut archives = Vec::new();
    for archive in &definition.build.archives {
        progress(&format!("downloading {} {}", archive.package, archive.version));
        archives.push(fetch(egress, &mirrors.npm, archive, folder).await?);
    }
    let root = bootstrap(definition, mirrors, egress, folder, progress).await?;
    progress("writing the layers");
    let (definition, target) = (definition.clone(), folder.to_owned());
    let work = move || write(&definition, &root, &archives, &target);
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(StackError::Layer { image: "run", source: io::Error::other(panic) }))
}

fn write(
    definition: &Definition,
    root: &Path,
    archives: &[PathBuf],
    folder: &Path,
) -> Result<Finished, StackError> {
    let whole = read(root, 0)?;
    let Some(Entry { kind: Kind::File(inner), .. }) = whole.0.get(RUN_ARCHIVE) else {
        return Err(StackError::Definition("mmdebstrap packed no run image".into()));
    };
    let inner = Tree::read(&inner.as_archive(), 0).map_err(|source| broken(root, source))?;
    let run = finish(definition, inner);
    let mut build = finish(definition, whole);
    for (archive, path) in definition.build.archives.iter().zip(archives) {
        build.graft(read(path, 1)?, &archive.target, &archive.exclude);
        build.0.extend(archive.links.iter().map(|(path, to)| (path.clone(), Entry::symlink(to))));
    }
    let libraries = libraries(&run).map_err(|source| broken(root, source))?;
    build.0.extend([("usr/share/hythe".to_owned(), Entry::folder(0o755, 0, 0)), libraries]);
    let finished = Finished {
        key: definition.key(),
        day: jiff::Timestamp::now().strftime("%Y%m%d").to_string(),
        run_packages: packages(&run).map_err(|source| broken(root, source))?,
        build_packages: packages(&build).map_err(|source| broken(root, source))?,
        run: layer("run", &run, &Tree::default(), folder)?,
        build: layer("build", &build, &run, folder)?,
    };
    for path in archives.iter().map(PathBuf::as_path).chain([root]) {
        std::fs::remove_file(path).map_err(|source| broken(path, source))?;
    }
    let index = folder.join("index.json");
    let bytes = serde_json::to_vec_pretty(&finished).map_err(io::Error::other);
    bytes.and_then(|bytes| std::fs::write(&index, bytes)).map_err(|source| broken(&index, source))?;
    Ok(finished)
}

/// Leaves out what no image needs and adds the folders that builds and tools expect.
fn finish(definition: &Definition, mut tree: Tree) -> Tree {
    let traces: Vec<String> = TRACES.iter().map(|path| (*path).to_owned()).collect();
    tree.trim(&definition.trim, &definition.keep);
    tree.trim(&traces, &[]);
    let users = &definition.users;
    for user in [&users.build, &users.run] {
        tree.0.insert(format!("home/{}", user.name), Entry::folder(0o755, user.uid, users.gid));
    }
    for path in ["layers", "workspace"] {
        tree.0.insert(path.to_owned(), Entry::folder(0o755, users.build.uid, users.gid));
    }
    for path in ["cnb", "platform"] {
        tree.0.insert(path.to_owned(), Entry::folder(0o755, 0, 0));
    }
    tree
}

/// A file of the build image that names the shared libraries of the run image: a buildpack that puts a runtime into a
/// layer of its own need not bring those along.
fn libraries(run: &Tree) -> io::Result<(String, Entry)> {
    let is_library = |name: &&str| name.split('.').skip(1).any(|part| part == "so");
    let names = run.0.keys().filter_map(|path| path.rsplit('/').next()).filter(is_library);
    let text: BTreeSet<String> = names.map(|name| format!("{name}\n")).collect();
    let content = Content::new(String::from_iter(text).as_bytes())?;
    Ok((RUN_LIBRARIES.to_owned(), Entry { kind: Kind::File(content), mode: 0o644, uid: 0, gid: 0 }))
}

fn read(path: &Path, strip: usize) -> Result<Tree, StackError> {
    let archive = std::fs::File::open(path).and_then(Archive::whole);
    archive.and_then(|archive| Tree::read(&archive, strip)).map_err(|source| broken(path, source))
}

/// Writes a layer under the name of its digest.
fn layer(image: &'static str, tree: &Tree, base: &Tree, folder: &Path) -> Result<StackLayer, StackError> {
    let unnamed = folder.join(image);
    let written = std::fs::File::create(&unnamed).and_then(|mut file| {
        let layer = write_layer(tree, base, &mut file)?;
        file.sync_all()?;
        std::fs::rename(&unnamed, Finished::file(folder, &layer))?;
        Ok(layer)
    });
    written.map_err(|source| StackError::Layer { image, source })
}

/// Installed packages by dpkg's own records, as `name=version`.
fn packages(tree: &Tree) -> io::Result<Vec<String>> {
    let status = tree.text("var/lib/dpkg/status")?;
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    let mut packages: Vec<String> = status
        .split("\n\n")
        .filter_map(|block| Some(format!("{}={}", field(block, "Package")?, field(block, "Version")?)))
        .collect();
    packages.sort();
    Ok(packages)
}

fn broken(path: &Path, source: io::Error) -> StackError {
    StackError::Archive { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run it as the server's user: it takes about two minutes and downloads from Debian and npm.
    #[tokio::test]
    #[ignore = "builds the stack twice: needs mmdebstrap, subordinate ids and the network"]
    async fn the_stack_has_the_same_bytes_when_it_is_made_again() {
        let definition = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks/bookworm");
        let definition = Definition::read(&definition).unwrap();
        let say = |line: &str| eprintln!("{line}");
        let (one, two) =
            (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir_in("/var/tmp").unwrap());
        let first =
            make(&definition, &Mirrors::default(), &Egress::default(), one.path(), &say).await.unwrap();
        eprintln!("{first:#?}");
        let second =
            make(&definition, &Mirrors::default(), &Egress::default(), two.path(), &say).await.unwrap();
        assert_eq!(first, second);
        assert!(first.run_packages.iter().all(|p| !p.starts_with("gcc-12=") && !p.starts_with("apt=")));
        assert_eq!(Finished::read(one.path()), Some(first));
    }
}
