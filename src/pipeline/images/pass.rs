//! One pass over the images of all tools in an external registry: one tool's trouble is not another's, and only a registry that is
//! away ends it.

use super::Noted;
use hythe_model::{Digest, ToolName};
use hythe_registry::{External, ExternalError, Provided};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Tools whose troubles are told one by one.
const TOLD: usize = 5;

/// A pass, and what has become of it.
pub(super) struct Pass<'a> {
    external: &'a External,
    troubles: usize,
    is_over: bool,
    /// It removes nothing.
    keeps_all: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn of(external: &'a External) -> Self {
        Self { external, troubles: 0, is_over: false, keeps_all: false }
    }

    /// Whether the registry cannot be asked about the others either.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Brings these images to the registry where they are missing.
    pub(super) async fn provide_all(&mut self, images: impl IntoIterator<Item = (ToolName, Digest)>) {
        for (tool, image) in images {
            self.provide(&tool, &image).await;
            if self.is_over() {
                break;
            }
        }
    }

    /// Brings an image to the registry where it is missing.
    pub(super) async fn provide(&mut self, tool: &ToolName, image: &Digest) {
        match self.external.provide_now(tool, image).await {
            Ok(Provided::There) => {}
            Ok(Provided::Sent { .. }) => {
                tracing::info!(%tool, %image, "the live image was missing in the external registry and was sent");
            }
            Err(error) if error.is_nowhere() => {
                tracing::error!(%tool, %error, "a live image is lost; redeploy the tool");
            }
            Err(error) => {
                // What broke off may be this image's own trouble, as where a proxy will not let it through.
                let is_away = error.is_away() && self.external.images(tool).await.is_err_and(|e| e.is_away());
                self.trouble(tool, &error, is_away);
            }
        }
    }

    /// The images of a tool that are there; `None` where that cannot be told.
    pub(super) async fn images(&mut self, tool: &ToolName) -> Option<BTreeSet<Digest>> {
        let there = self.external.images(tool).await;
        there.inspect_err(|error| self.trouble(tool, error, error.is_away())).ok()
    }

    /// Removes images of a tool, unless the registry removes nothing for anybody; how many went.
    pub(super) async fn remove(
        &mut self,
        tool: &ToolName,
        images: &BTreeSet<Digest>,
        noted: &Noted,
    ) -> usize {
        if self.keeps_all {
            return 0;
        }
        let Err(error) = self.external.remove(tool, images).await else { return images.len() };
        self.keeps_all = error.is_unsupported();
        if !error.is_refusal() {
            self.trouble(tool, &error, error.is_away());
        } else if !noted.keeps.swap(true, Ordering::Relaxed) {
            tracing::warn!(%tool, %error, "the external registry does not let images go: what nobody needs stays there");
        }
        0
    }

    fn trouble(&mut self, tool: &ToolName, error: &ExternalError, is_away: bool) {
        self.is_over |= is_away;
        self.troubles += 1;
        if self.troubles <= TOLD {
            tracing::warn!(%tool, %error, is_away, "the tool's images in the external registry were not looked after this time");
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.troubles > TOLD {
            tracing::warn!(tools = self.troubles, "images of so many tools were not looked after this time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_registry::{ContentStore, ExternalOptions, Repository};
    use hythe_testing::{Distribution, DistributionOptions};
    use std::time::Duration;

    /// An image of one tool: a layer that says so, and an empty config.
    fn image(content: &ContentStore, tool: &ToolName) -> (Digest, Digest) {
        let repository = Repository::of_tool(tool);
        let layer = content.put_blob(&repository, tool.as_str().as_bytes()).unwrap();
        let config = content.put_blob(&repository, b"{}").unwrap();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{}}}]}}"#,
            tool.as_str().len(),
        );
        let tag = "v1".parse().unwrap();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        (content.put_manifest(&repository, &tag, media_type, manifest.as_bytes()).unwrap(), layer)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_tools_trouble_is_not_anothers_and_a_registry_that_is_away_is_asked_no_more() {
        let mut registry = Distribution::start("127.0.0.1", DistributionOptions::default());
        let folder = tempfile::tempdir().unwrap();
        let content = ContentStore::open(folder.path().join("registry")).unwrap();
        let options = ExternalOptions {
            prefix: format!("{}/hythe", registry.address()).parse().unwrap(),
            platform: "hythe".to_owned(),
            push: None,
            authorities: None,
            plain: true,
            patience: Duration::ZERO,
        };
        let external = External::open(&options, content.clone()).unwrap();
        let tools: Vec<ToolName> = ["damaged", "lost", "well"].map(|name| name.parse().unwrap()).into();
        let [(damaged, layer), (_, lost), (well, _)] = [0, 1, 2].map(|at| image(&content, &tools[at]));
        let blob = content.root().join("blobs/sha256").join(&layer.hex()[..2]).join(layer.hex());
        std::fs::write(blob, "something else, and longer").unwrap();
        let all = || tools.iter().cloned().zip([damaged.clone(), lost.clone(), well.clone()]);

        let mut pass = Pass::of(&external);
        pass.provide_all(all()).await;
        assert_eq!((pass.troubles, pass.is_over()), (1, false));
        assert_eq!(pass.images(&tools[2]).await, Some([well.clone()].into()), "those after it are sent");

        registry.stop();
        let mut pass = Pass::of(&external);
        pass.provide_all(all()).await;
        assert_eq!((pass.troubles, pass.is_over()), (1, true), "the others are not asked about");
        registry.resume();
        assert_eq!(pass.images(&tools[0]).await, Some(BTreeSet::new()));
    }
}
