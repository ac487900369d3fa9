//! Images on their way to real registries: `distribution`, and our own, which asks for tokens; and what strangers may answer.

use super::*;
use crate::server::tests::tools::{export, run, tool as program};
use crate::{Provided, Repository};
use hythe_model::Digest;
use hythe_testing::{Distribution, DistributionOptions};
use std::sync::Mutex;
use std::time::Instant;

mod answers;
mod distribution;
mod removal;
mod tokens;

/// A content store with an image of the tool `weather`.
struct Built {
    dir: tempfile::TempDir,
    content: ContentStore,
    image: Digest,
}

fn named(name: &str) -> ToolName {
    name.parse().unwrap()
}

fn built() -> Built {
    let dir = tempfile::tempdir().unwrap();
    let content = ContentStore::open(dir.path().join("registry")).unwrap();
    let image = export(&content, &Repository::of_tool(&named("weather")));
    Built { dir, content, image }
}

impl Built {
    /// The same image as one of another tool.
    fn also(&self, tool: &str) {
        let (from, to) = (Repository::of_tool(&named("weather")), Repository::of_tool(&named(tool)));
        let reference = self.image.clone().into();
        let manifest = self.content.manifest(&from, &reference).unwrap().unwrap();
        self.content.put_manifest(&to, &reference, &manifest.media_type, &manifest.bytes).unwrap();
    }

    fn options(prefix: &str) -> ExternalOptions {
        ExternalOptions {
            prefix: prefix.parse().unwrap(),
            platform: "production".to_owned(),
            push: None,
            authorities: None,
            plain: true,
            patience: Duration::ZERO,
        }
    }

    fn to(&self, options: &ExternalOptions) -> External {
        External::open(options, self.content.clone()).unwrap()
    }
}

async fn provide(external: &External, tool: &str, image: &Digest) -> Result<Provided, ExternalError> {
    external.provide(&named(tool), image, &|_| ()).await
}

/// What a failure says, without what differs from run to run.
fn said(error: &ExternalError, address: &str) -> String {
    error.fault().to_string().replace(address, "HOST")
}
