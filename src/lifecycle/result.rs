//! What a buildpack has written, read after its build.

use crate::files;
use crate::store::Buildpacks;
use hythe_cnb::LayerName;
use hythe_cnb::labels::plain_table;
use hythe_cnb::launch::LaunchToml;
use hythe_cnb::layer::{LayerToml, LayerTypes};
use hythe_cnb::output::{BuildToml, SbomFormat, StoreToml};
use hythe_cnb::plan::BuildpackPlan;
use hythe_cnb::protocol::{Built, BuiltLayer, SBOM_MAX, SBOM_TOTAL_MAX, TOML_MAX};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything that one buildpack has written.
pub(crate) struct Written {
    /// What the outcome tells of it.
    pub(crate) built: Built,
    /// Its layers' folders with their types, sorted.
    pub(crate) layers: Vec<(PathBuf, LayerTypes)>,
    /// launch.toml.
    pub(crate) launch: LaunchToml,
    /// Plan entries that it left unmet.
    pub(crate) unmet: Vec<String>,
}

/// Reads it; the error says what is wrong, for people.
pub(crate) fn read(
    dir: &Path,
    buildpacks: &Buildpacks,
    index: usize,
    asked: &BuildpackPlan,
) -> Result<Written, String> {
    let descriptor = &buildpacks.descriptors[index];
    let mut sboms = Sboms::read(dir)?;
    let mut layers = BTreeMap::new();
    let mut folders = Vec::new();
    for (name, toml) in layer_files(dir)? {
        let layer = LayerToml::parse(&format!("{name}.toml"), &toml).map_err(|error| error.to_string())?;
        if layer.types().is_ignored() {
            continue;
        }
        let path = dir.join(name.as_str());
        let present = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        folders.push((path, layer.types()));
        let made = BuiltLayer {
            types: layer.types(),
            metadata: plain_table(layer.metadata),
            present,
            sboms: sboms.take(name.as_str()),
        };
        layers.insert(name, made);
    }
    let launch = optional(dir, "launch.toml", |text| LaunchToml::parse(text, &descriptor.id))?;
    let left = optional(dir, "build.toml", |text| BuildToml::parse(text, asked))?;
    let store = optional(dir, "store.toml", |text| StoreToml::parse(text).map(Some))?;
    let built = Built {
        id: descriptor.id.clone(),
        version: descriptor.version.clone(),
        api: descriptor.api.clone(),
        homepage: descriptor.homepage.clone(),
        layers,
        store: store.map(|store| StoreToml { metadata: plain_table(store.metadata) }),
        sboms: sboms.take("launch"),
    };
    Ok(Written { built, layers: folders, launch, unmet: left.unmet })
}

fn optional<T: Default>(
    dir: &Path,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, hythe_cnb::FormatError>,
) -> Result<T, String> {
    match files::read(&dir.join(name), TOML_MAX).map_err(|error| format!("{name} cannot be read: {error}"))? {
        Some(text) => parse(&text).map_err(|error| error.to_string()),
        None => Ok(T::default()),
    }
}

/// Every `<layer>.toml`, sorted; names that cannot be layers are left alone.
fn layer_files(dir: &Path) -> Result<Vec<(LayerName, String)>, String> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let Some(layer) = name.strip_suffix(".toml").and_then(|name| name.parse::<LayerName>().ok()) else {
            continue;
        };
        let text = files::read(&dir.join(&name), TOML_MAX)
            .map_err(|error| format!("{name} cannot be read: {error}"))?;
        found.extend(text.map(|text| (layer, text)));
    }
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>, String> {
    let fail = |error: std::io::Error| format!("its layers cannot be listed: {error}");
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        names.extend(entry.map_err(fail)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// SBOM files by what they are about.
struct Sboms(BTreeMap<String, BTreeMap<SbomFormat, String>>);

impl Sboms {
    fn read(dir: &Path) -> Result<Self, String> {
        let mut found: BTreeMap<String, BTreeMap<SbomFormat, String>> = BTreeMap::new();
        let mut total = 0;
        for name in names(dir)? {
            let Some((subject, format)) = SbomFormat::of_file(&name) else { continue };
            let text = files::read(&dir.join(&name), SBOM_MAX)
                .map_err(|error| format!("{name} cannot be read: {error}"))?
                .unwrap_or_default();
            total += text.len() as u64;
            if total > SBOM_TOTAL_MAX {
                return Err(format!("its SBOM files take more than {SBOM_TOTAL_MAX} bytes"));
            }
            found.entry(subject.to_owned()).or_default().insert(format, text);
        }
        Ok(Self(found))
    }

    fn take(&mut self, subject: &str) -> BTreeMap<SbomFormat, String> {
        self.0.remove(subject).unwrap_or_default()
    }
}
