//! From a release's image in the store to what a sandbox needs: layers on disk, environment, user.

use crate::fault;
use crate::runtime::{ImageName, RunnableRelease};
use hythe_layers::Layers;
use hythe_model::Fault;
use hythe_oci::RunConfig;
use hythe_registry::{ContentStore, Reference, ReferenceError, Repository, StoredImage};
use hythe_sandbox::{Helper, RelPath};

/// An image, unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Its layers, the topmost first.
    pub(crate) lowers: Vec<RelPath>,
    /// Its environment.
    pub(crate) env: Vec<(String, String)>,
    /// Its working directory.
    pub(crate) cwd: String,
    /// The user and group that it runs as.
    pub(crate) user: (u32, u32),
}

/// Opens an image: unpacks what is not there yet.
pub(crate) async fn open(
    helper: &Helper,
    content: &ContentStore,
    layers: &Layers,
    release: &RunnableRelease,
) -> Result<Image, Fault> {
    let bad = |why: String| fault::bad_image(&release.release, why);
    let name = ImageName::of(release);
    let image = documents(content, &name).await.map_err(bad)?;
    let wanted = image.layers().rev().collect();
    let lowers = layers.unpacked(wanted).await.map_err(|error| bad(error.to_string()))?;
    let config = &image.config.config;
    let user = user(helper, &lowers, config).await.map_err(bad)?;
    Ok(Image { lowers, env: env(config), cwd: cwd(config), user })
}

/// The documents of an image that must be there.
pub(crate) async fn documents(content: &ContentStore, name: &ImageName) -> Result<StoredImage, String> {
    let repository: Repository =
        name.repository.parse().map_err(|error: ReferenceError| error.to_string())?;
    let (content, reference) = (content.clone(), Reference::Digest(name.digest.clone()));
    let read = tokio::task::spawn_blocking(move || content.image(&repository, &reference));
    let read = read.await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())?.ok_or_else(|| "the registry does not have it".to_owned())
}

fn env(config: &RunConfig) -> Vec<(String, String)> {
    let pairs = config.env.iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn cwd(config: &RunConfig) -> String {
    if config.working_dir.starts_with('/') { config.working_dir.clone() } else { "/".to_owned() }
}

/// The user that the config names, by number or by a name of the image's own files. Root is refused.
async fn user(helper: &Helper, lowers: &[RelPath], config: &RunConfig) -> Result<(u32, u32), String> {
    let (user, group) = match config.user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (config.user.as_str(), None),
    };
    let (uid, own_group) = if let Ok(uid) = user.parse() {
        (uid, None)
    } else {
        let line = record(helper, lowers, "etc/passwd", user).await;
        let line = line.ok_or_else(|| format!("its user `{user}` is not in its /etc/passwd"))?;
        let number = |at: usize| line.get(at).and_then(|field| field.parse().ok());
        (number(2).ok_or("its /etc/passwd cannot be read")?, number(3))
    };
    let gid = match group {
        None => own_group.unwrap_or(uid),
        Some(group) => group_of(helper, lowers, group).await?,
    };
    if uid == 0 {
        return Err("it runs as root, which tools may not".to_owned());
    }
    Ok((uid, gid))
}

async fn group_of(helper: &Helper, lowers: &[RelPath], group: &str) -> Result<u32, String> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let line = record(helper, lowers, "etc/group", group).await;
    let line = line.ok_or_else(|| format!("its group `{group}` is not in its /etc/group"))?;
    line.get(2).and_then(|gid| gid.parse().ok()).ok_or_else(|| "its /etc/group cannot be read".to_owned())
}

/// The fields of a name's line in a file of the image.
async fn record(helper: &Helper, lowers: &[RelPath], file: &str, name: &str) -> Option<Vec<String>> {
    for lower in lowers {
        let Ok(path) = lower.join(file) else { continue };
        let Ok(bytes) = helper.read(&path, 1 << 20).await else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        return text.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name));
    }
    None
}
