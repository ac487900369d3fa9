//! Detect and build.

use hythe_buildpack::{BuildpackError, Fault, copy_file, note, report, web};
use libcnb::Buildpack;
use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::layer::UncachedLayerDefinition;
use libcnb_data::launch::LaunchBuilder;
use libcnb_data::layer_name;
use std::path::Path;

/// The name under which this program is the server.
pub(crate) const SERVER: &str = "static-server";
/// Folders that hold a finished site, the first that is there wins; the root itself comes after them.
const FOLDERS: [&str; 5] = ["public", "dist", "_site", "site", "www"];

pub(crate) struct StaticBuildpack;

/// A folder with files to serve, relative to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// It has an index page.
    Ready(&'static str),
    /// It has pages, but none that `/` could show.
    NoIndex(&'static str),
}

/// Finds the folder to serve.
pub(crate) fn determine_site(app: &Path) -> Option<Site> {
    let folders = FOLDERS.into_iter().chain(["."]);
    let ready = folders.clone().find(|folder| app.join(folder).join("index.html").is_file());
    if let Some(folder) = ready {
        return Some(Site::Ready(folder));
    }
    folders.into_iter().find(|folder| has_pages(&app.join(folder))).map(Site::NoIndex)
}

fn has_pages(folder: &Path) -> bool {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|e| e == "html" || e == "htm"))
}

fn no_index(app: &Path, folder: &str) -> Fault {
    let place = if folder == "." { "the root of the source".to_owned() } else { format!("{folder}/") };
    let mut pages: Vec<String> = app
        .join(folder)
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == "html" || e == "htm"))
        .collect();
    pages.sort();
    pages.truncate(5);
    Fault::new("static/no-index", "The build failed: the site has no index.html.")
        .why(format!("{place} has {}, but nothing that answers `/`.", pages.join(", ")))
        .next("Rename the first page to index.html, or add one that links to the others.")
}

impl Buildpack for StaticBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = BuildpackError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, BuildpackError> {
        if determine_site(&context.app_dir).is_some() {
            return DetectResultBuilder::pass().build();
        }
        println!("no index.html, neither at the root nor in {}", FOLDERS.join(", "));
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, BuildpackError> {
        let folder = match determine_site(&context.app_dir) {
            Some(Site::Ready(folder)) => folder,
            Some(Site::NoIndex(folder)) => {
                return Err(BuildpackError::Fault(no_index(&context.app_dir, folder)).into());
            }
            None => {
                return Err(BuildpackError::Unexpected("the site that was detected is gone".into()).into());
            }
        };
        let layer = context.uncached_layer(
            layer_name!("static-server"),
            UncachedLayerDefinition { build: false, launch: true },
        )?;
        copy_file(&context.buildpack_dir.join("bin/build"), &layer.path().join("bin").join(SERVER))?;
        note("static", &format!("serves {}", if folder == "." { "the whole source" } else { folder }));
        let launch = LaunchBuilder::new().process(web(&format!("exec {SERVER} {folder}"))).build();
        BuildResultBuilder::new().launch(launch).build()
    }

    fn on_error(&self, error: libcnb::Error<BuildpackError>) {
        report(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_site_comes_before_the_root() {
        let app = tempfile::tempdir().unwrap();
        assert_eq!(determine_site(app.path()), None);
        std::fs::write(app.path().join("about.html"), "").unwrap();
        assert_eq!(determine_site(app.path()), Some(Site::NoIndex(".")));
        let fault = no_index(app.path(), ".");
        assert_eq!(fault.why, ["the root of the source has about.html, but nothing that answers `/`."]);
        std::fs::write(app.path().join("index.html"), "").unwrap();
        assert_eq!(determine_site(app.path()), Some(Site::Ready(".")));
        std::fs::create_dir(app.path().join("public")).unwrap();
        std::fs::write(app.path().join("public/index.html"), "").unwrap();
        assert_eq!(determine_site(app.path()), Some(Site::Ready("public")));
    }
}
