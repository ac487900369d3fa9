//! Detect and build.

use hythe_buildpack::{BUILT_SITE, BuildpackError, Fault, copy_file, note, report, web};
use libcnb::Buildpack;
use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::layer::UncachedLayerDefinition;
use libcnb_data::build_plan::BuildPlanBuilder;
use libcnb_data::launch::LaunchBuilder;
use libcnb_data::layer_name;
use std::path::Path;

/// The name under which this program is the server.
pub(crate) const SERVER: &str = "static-server";
/// Folders that hold a finished site, the first that is there wins; the root itself comes after them.
const FOLDERS: [&str; 5] = ["public", "dist", "_site", "site", "www"];

/// Folders into which a build script writes a site, the first that is there wins.
const BUILT: [&str; 6] = ["dist", "build", "out", "_site", "public", "www"];

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

/// Finds the folder that a build script has made. The root is none of them: its index is what the site is made from.
fn determine_built_site(app: &Path) -> Result<&'static str, Fault> {
    let made = BUILT.into_iter().find(|folder| app.join(folder).join("index.html").is_file());
    made.ok_or_else(|| {
        Fault::new("static/no-built-site", "The build failed: the build script of package.json made no site.")
            .why(format!("After `npm run build` there is no index.html in {}.", BUILT.join(", ")))
            .next("If it is a site, let the build write it into dist.")
            .next("If it is a server, add a script: \"scripts\": {\"start\": \"node index.js\"}")
    })
}

fn has_pages(folder: &Path) -> bool {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|e| e == "html" || e == "htm"))
}

fn no_index(app: &Path, folder: &str) -> Fault {
    let place = if folder == "." { "The root of the source".to_owned() } else { format!("{folder}/") };
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

/// The folder to serve.
fn resolve_folder(app: &Path) -> Result<&'static str, BuildpackError> {
    if app.join("package.json").is_file() {
        return Ok(determine_built_site(app)?);
    }
    match determine_site(app) {
        Some(Site::Ready(folder)) => Ok(folder),
        Some(Site::NoIndex(folder)) => Err(no_index(app, folder).into()),
        None => Err(BuildpackError::Unexpected("the site that was detected is gone".into())),
    }
}

impl Buildpack for StaticBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = BuildpackError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, BuildpackError> {
        if context.app_dir.join("package.json").is_file() {
            // A server in Node.js serves its own pages: only a site that its build offers is served.
            println!("what a build makes of package.json");
            let plan = BuildPlanBuilder::new().requires(BUILT_SITE).build();
            return DetectResultBuilder::pass().build_plan(plan).build();
        }
        if determine_site(&context.app_dir).is_some() {
            return DetectResultBuilder::pass().build();
        }
        println!("no index.html, neither at the root nor in {}", FOLDERS.join(", "));
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, BuildpackError> {
        let folder = resolve_folder(&context.app_dir)?;
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

    fn show(fault: &Fault) -> String {
        let lines = fault.why.iter().chain(&fault.next).map(|line| format!("\n  {line}"));
        format!("{} [{}]{}", fault.what, fault.id, lines.collect::<String>())
    }

    #[test]
    fn the_copy_of_faults() {
        let app = tempfile::tempdir().unwrap();
        std::fs::create_dir(app.path().join("public")).unwrap();
        for page in ["about.html", "public/a.htm", "public/b.html"] {
            std::fs::write(app.path().join(page), "").unwrap();
        }
        let unbuilt = determine_built_site(app.path()).unwrap_err();
        let all = [no_index(app.path(), "."), no_index(app.path(), "public"), unbuilt];
        insta::assert_snapshot!(all.iter().map(show).collect::<Vec<_>>().join("\n\n"));
    }

    #[test]
    fn what_a_build_made_is_not_what_it_was_made_from() {
        let app = tempfile::tempdir().unwrap();
        for folder in ["public", "build"] {
            std::fs::create_dir(app.path().join(folder)).unwrap();
        }
        for page in ["index.html", "public/index.html", "build/index.html"] {
            std::fs::write(app.path().join(page), "").unwrap();
        }
        assert_eq!(resolve_folder(app.path()).unwrap(), "public");
        std::fs::write(app.path().join("package.json"), "{}").unwrap();
        assert_eq!(resolve_folder(app.path()).unwrap(), "build");
    }

    #[test]
    fn a_built_site_comes_before_the_root() {
        let app = tempfile::tempdir().unwrap();
        assert_eq!(determine_site(app.path()), None);
        std::fs::write(app.path().join("about.html"), "").unwrap();
        assert_eq!(determine_site(app.path()), Some(Site::NoIndex(".")));
        let fault = no_index(app.path(), ".");
        assert_eq!(fault.why, ["The root of the source has about.html, but nothing that answers `/`."]);
        std::fs::write(app.path().join("index.html"), "").unwrap();
        assert_eq!(determine_site(app.path()), Some(Site::Ready(".")));
        std::fs::create_dir(app.path().join("public")).unwrap();
        std::fs::write(app.path().join("public/index.html"), "").unwrap();
        assert_eq!(determine_site(app.path()), Some(Site::Ready("public")));
    }
}
