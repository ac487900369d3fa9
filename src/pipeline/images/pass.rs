//! One pass over the images of all tools in an external registry: one tool's trouble is not another's, and what is no tool's ends it:
//! a registry that is away, does not know the platform, or says no to everything.

use super::Noted;
use hythe_model::{Digest, ToolName};
use hythe_registry::{External, ExternalError, Provided};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Tools whose troubles are told one by one.
const TOLD: usize = 5;
/// Tools in a row with trouble from the registry, after which the others would have it too.
const ROW: usize = 10;

/// A pass, and what has become of it.
pub(super) struct Pass<'a> {
    external: &'a External,
    /// Tools that had trouble, and the last of them.
    troubles: usize,
    last: Option<ToolName>,
    row: usize,
    is_over: bool,
    /// It removes nothing.
    keeps_all: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn of(external: &'a External) -> Self {
        Self { external, troubles: 0, last: None, row: 0, is_over: false, keeps_all: false }
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

    /// Brings a tool's live image to the registry where it is missing; the images that were there, as far as it says.
    pub(super) async fn tend(&mut self, tool: &ToolName, live: Option<&Digest>) -> BTreeSet<Digest> {
        let there = match self.external.images(tool).await {
            Ok(there) => there,
            Err(error) => {
                self.trouble(tool, &error, error.is_general());
                return BTreeSet::new();
            }
        };
        match live.filter(|image| !there.contains(*image)) {
            Some(image) => self.provide(tool, image).await,
            None => self.row = 0,
        }
        there
    }

    /// Brings an image to the registry where it is missing.
    async fn provide(&mut self, tool: &ToolName, image: &Digest) {
        match self.external.provide_now(tool, image).await {
            Ok(Provided::There) => self.row = 0,
            Ok(Provided::Sent { .. }) => {
                self.row = 0;
                tracing::info!(%tool, %image, "the live image was missing in the external registry and was sent");
            }
            Err(error) if error.is_nowhere() => {
                tracing::error!(%tool, %error, "a live image is lost; redeploy the tool");
            }
            Err(error) => {
                // What broke off may be this image's own trouble, as where a proxy will not let it through.
                let is_everybodys =
                    error.is_general() && self.external.images(tool).await.is_err_and(|e| e.is_general());
                self.trouble(tool, &error, is_everybodys);
            }
        }
    }

    /// Removes images of a tool, unless the registry removes nothing for anybody; how many went.
    pub(super) async fn remove(
        &mut self,
        tool: &ToolName,
        images: &BTreeSet<Digest>,
        noted: &Noted,
    ) -> usize {
        if self.keeps_all || self.is_over {
            return 0;
        }
        let error = match self.external.remove(tool, images).await {
            Ok(gone) => return gone,
            Err(error) => error,
        };
        self.keeps_all = error.is_unsupported();
        if !error.is_refusal() {
            self.trouble(tool, &error, error.is_general());
        } else if !noted.keeps.swap(true, Ordering::Relaxed) {
            tracing::warn!(%tool, %error, "the external registry does not let images go: what nobody needs stays there");
        }
        0
    }

    fn trouble(&mut self, tool: &ToolName, error: &ExternalError, is_everybodys: bool) {
        if self.last.replace(tool.clone()).as_ref() != Some(tool) {
            self.troubles += 1;
            self.row += usize::from(error.is_the_registrys());
        }
        self.is_over |= is_everybodys || self.row >= ROW;
        if self.troubles <= TOLD {
            tracing::warn!(%tool, %error, "the tool's images in the external registry were not looked after this time");
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let tools = self.troubles;
        if self.is_over {
            tracing::warn!(
                tools,
                "the external registry is not asked about the images of other tools this time"
            );
        } else if tools > TOLD {
            tracing::warn!(tools, "images of so many tools were not looked after this time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_registry::{ContentStore, ExternalOptions, Repository};
    use hythe_testing::{Distribution, DistributionOptions};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

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

    fn options(address: &str) -> ExternalOptions {
        ExternalOptions {
            prefix: format!("{address}/hythe").parse().unwrap(),
            platform: "hythe".to_owned(),
            push: None,
            authorities: None,
            plain: true,
            patience: Duration::ZERO,
        }
    }

    fn tools(count: usize) -> impl Iterator<Item = ToolName> {
        (0..count).map(|number| format!("tool{number}").parse().unwrap())
    }

    /// A registry that answers everything with this status, but maybe lists, and how often it was asked.
    async fn refusing(code: u16, lists: bool) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                let _ = client.read(&mut head).await;
                count.fetch_add(1, Ordering::Relaxed);
                let is_list = lists && head.starts_with(b"GET ");
                let (code, body) = if is_list { (200, r#"{"tags":[]}"#) } else { (code, "") };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {code} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = client.write_all(answer.as_bytes()).await;
            }
        });
        (address, asked)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_tools_trouble_is_not_anothers_and_a_registry_that_is_away_is_asked_no_more() {
        let mut registry = Distribution::start("127.0.0.1", DistributionOptions::default());
        let folder = tempfile::tempdir().unwrap();
        let content = ContentStore::open(folder.path().join("registry")).unwrap();
        let external = External::open(&options(registry.address()), content.clone()).unwrap();
        let tools: Vec<ToolName> = ["damaged", "lost", "well"].map(|name| name.parse().unwrap()).into();
        let [(damaged, layer), (_, lost), (well, _)] = [0, 1, 2].map(|at| image(&content, &tools[at]));
        let blob = content.root().join("blobs/sha256").join(&layer.hex()[..2]).join(layer.hex());
        std::fs::write(blob, "something else, and longer").unwrap();
        let all = || tools.iter().cloned().zip([damaged.clone(), lost.clone(), well.clone()]);

        let mut pass = Pass::of(&external);
        pass.provide_all(all()).await;
        assert_eq!((pass.troubles, pass.is_over()), (1, false));
        assert_eq!(pass.tend(&tools[2], None).await, [well.clone()].into(), "those after it are sent");

        registry.stop();
        let mut pass = Pass::of(&external);
        pass.provide_all(all()).await;
        assert_eq!((pass.troubles, pass.is_over()), (1, true), "the others are not asked about");
        registry.resume();
        assert_eq!(pass.tend(&tools[0], None).await, BTreeSet::new());
        assert_eq!(pass.row, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_account_that_is_not_known_any_more_is_refused_once() {
        let login = DistributionOptions { login: true, ..DistributionOptions::default() };
        let registry = Distribution::start("127.0.0.1", login);
        let folder = tempfile::tempdir().unwrap();
        let content = ContentStore::open(folder.path().join("registry")).unwrap();
        let push = Some(registry.login(Distribution::USER));
        let external =
            External::open(&ExternalOptions { push, ..options(registry.address()) }, content).unwrap();
        registry.write_login(Distribution::USER, "expired");
        let image = Digest::sha256([7; 32]);
        let mut pass = Pass::of(&external);
        pass.provide_all(tools(3).map(|tool| (tool, image.clone()))).await;
        assert_eq!((pass.troubles, pass.is_over()), (1, true));
        let mut pass = Pass::of(&external);
        pass.tend(&"one".parse().unwrap(), Some(&image)).await;
        assert_eq!((pass.troubles, pass.is_over()), (1, true));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_registry_that_refuses_everything_is_not_asked_about_every_tool() {
        for (code, lists, tended, requests) in
            [(403, false, ROW, ROW), (503, false, ROW, ROW), (429, false, 1, 1), (403, true, ROW, 2 * ROW)]
        {
            let (address, asked) = refusing(code, lists).await;
            let folder = tempfile::tempdir().unwrap();
            let content = ContentStore::open(folder.path().join("registry")).unwrap();
            let external = External::open(&options(&address), content).unwrap();
            let image = Digest::sha256([7; 32]);
            let mut pass = Pass::of(&external);
            for tool in tools(3 * ROW) {
                if pass.is_over() {
                    break;
                }
                assert!(pass.tend(&tool, Some(&image)).await.is_empty());
            }
            assert_eq!((pass.troubles, pass.is_over()), (tended, true), "{code}");
            assert_eq!(pass.remove(&"one".parse().unwrap(), &[image].into(), &Noted::default()).await, 0);
            // What could not be listed was not looked for either.
            assert_eq!(asked.load(Ordering::Relaxed), requests, "{code}");
        }
    }
}
