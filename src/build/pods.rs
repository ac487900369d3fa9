//! Builds in pods of a cluster, one a build.
//!
//! Enter at [`Pods::open`]. `desired` says what a pod is, a pure function; `image` makes the image that it runs; `run` follows
//! it to its end; `cache` keeps layers as an artifact of the registry. Source and layers go through a repository of the build's own,
//! by [`hythe_carrier`]: no untrusted code sees a credential, and the one that there is opens this repository alone.

pub(crate) mod cache;
mod desired;
mod image;
mod parcel;
mod run;
mod stage;

pub use image::REPOSITORY as BUILDER_REPOSITORY;
pub use parcel::name as build_repository;

pub(crate) use stage::Failed;

use crate::analyze::{Before, say_of_cache};
use crate::cache::{Found, Index, UNREADABLE};
use crate::executor::{Executor, Layer, Site, Stays, Task};
use crate::{Common, fault};
use async_trait::async_trait;
use hythe_carrier::Delivery;
use hythe_carrier::trees::Tree;
use hythe_cluster::fence::{Account, PullAccess};
use hythe_cluster::{Cluster, ClusterError, of_another};
use hythe_cnb::protocol::Outcome;
use hythe_model::{BuildId, Digest, Fault, ToolName};
use hythe_oci::LayerDescriptor;
use hythe_registry::Repository;
use run::{Ended, say};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Names the credential of one build: a user and a password that open its repository, `builds/<id>`, while it runs.
pub type BuildAccess = Arc<dyn Fn(BuildId) -> (String, String) + Send + Sync>;

/// What builds in pods need.
pub struct PodParts {
    /// The cluster.
    pub cluster: Cluster,
    /// How builds lie in it.
    pub settings: PodSettings,
    /// Makes the credential of one build.
    pub access: BuildAccess,
    /// What nodes pull the builder's image with.
    pub pull: PullAccess,
    /// The static program that carries sources in and layers out, `libexec/hythe/carrier`.
    pub carrier: std::path::PathBuf,
}

/// How builds lie in a cluster.
#[derive(Debug, Clone)]
pub struct PodSettings {
    /// This installation among others in the same cluster.
    pub platform: String,
    /// The namespace that builds run in.
    pub namespace: String,
    /// The server's own account, which gets its rights in that namespace; none where it has them everywhere.
    pub account: Option<Account>,
    /// Host and port that nodes and pods reach the registry by.
    pub registry: String,
    /// Whether it speaks plain HTTP there.
    pub plain: bool,
    /// Authorities that it is known by, as PEM.
    pub authorities: Option<String>,
    /// The namespace of the platform's own pods, which the registry is in; none where it is outside the cluster.
    pub registry_namespace: Option<String>,
    /// The port that it has in those pods.
    pub registry_port: u16,
    /// How long the cluster may take to start a pod: to find it a node and to pull its image.
    pub start: Duration,
}

/// The pods of a cluster.
pub(crate) struct Pods {
    cluster: Cluster,
    settings: PodSettings,
    access: BuildAccess,
    pull: PullAccess,
    /// The builder's image.
    image: Digest,
    /// Whether the namespace stands.
    fenced: Mutex<bool>,
}

impl Pods {
    /// Publishes the builder's image.
    pub(crate) fn open(common: &Common, parts: PodParts) -> Result<Self, Fault> {
        let image = image::publish(common, &parts.carrier)?;
        let PodParts { cluster, settings, access, pull, .. } = parts;
        Ok(Self { cluster, settings, access, pull, image, fenced: Mutex::new(false) })
    }

    fn wish<'a>(&'a self, common: &'a Common) -> desired::Wish<'a> {
        desired::Wish {
            settings: &self.settings,
            limits: &common.parts.limits,
            network: &common.parts.network,
            user: common.base.build_user,
            env: common.process_env(),
            image: &self.image,
        }
    }

    /// One pod, from what stands around it to what it delivers. Where it does not deliver, nothing is taken for granted any more.
    async fn attempt(&self, task: Task<'_>, before: &Before) -> Result<Delivery, Ended> {
        self.fence(task.common).await?;
        let ended = self.carry_out(task, before).await;
        if ended.is_err() {
            *self.fenced.lock().await = false;
        }
        ended
    }

    /// Makes the namespace and what stands around its pods, where that is not known to stand.
    async fn fence(&self, common: &Common) -> Result<(), Fault> {
        let mut fenced = self.fenced.lock().await;
        if *fenced {
            return Ok(());
        }
        let bundle = common.parts.network.ca_bundle.as_deref().map(std::fs::read_to_string).transpose();
        let bundle = bundle.map_err(fault::platform("read the bundle of authorities"))?;
        let objects = desired::fence(&self.wish(common), &self.pull, bundle);
        let applied = self.cluster.apply(&desired::owner(&self.settings), &objects).await;
        applied.map_err(|error| not_taken(&error))?;
        *fenced = true;
        Ok(())
    }
}

#[async_trait]
impl Executor for Pods {
    async fn cached(&self, common: &Common, tool: &ToolName) -> Result<Found, Fault> {
        cache::read(common, tool).await
    }

    async fn run<'a>(&'a self, task: Task<'a>, before: &mut Before) -> Result<Box<dyn Site + 'a>, Fault> {
        let delivery = match self.attempt(task, before).await {
            Err(Ended::Lost(why)) => {
                say(task.events, &format!("the build's pod is lost: {why}; trying once more"));
                self.attempt(task, before).await
            }
            Err(Ended::Unrestored(fault)) if !before.index.slices.is_empty() => {
                tracing::warn!(tool = %task.request.tool, %fault, "a build goes on without its cache");
                say_of_cache(task.events, &format!("not used: {UNREADABLE}"));
                let index = std::mem::take(&mut before.index);
                before.forget_layers(Some(index));
                self.attempt(task, before).await
            }
            first => first,
        };
        let fault = match delivery {
            Ok(Delivery { refused: Some(refused), .. }) => fault::refused(&refused),
            Ok(delivery) => return Ok(Box::new(PodSite { task, delivery })),
            Err(Ended::Failed(fault) | Ended::Unrestored(fault)) => fault,
            Err(Ended::Lost(why)) => fault::pod_lost(&why),
        };
        parcel::remove(task.common, task.request.id).await;
        Err(fault)
    }

    async fn forget(&self, common: &Common, tool: &ToolName) -> Result<(), Fault> {
        cache::forget(common, tool).await
    }

    async fn sweep(&self, common: &Common, stays: Stays) -> Result<(), Fault> {
        self.end_all(&stays).await?;
        parcel::sweep(common, stays).await
    }
}

/// What a pod has delivered.
struct PodSite<'a> {
    task: Task<'a>,
    delivery: Delivery,
}

/// The layer that a tree has become.
fn find<'d>(delivery: &'d Delivery, tree: &Tree) -> Result<&'d LayerDescriptor, Fault> {
    let found = delivery.packed.iter().find(|packed| &packed.tree == tree);
    found
        .map(|packed| &packed.layer)
        .ok_or_else(|| fault::platform("find a layer")("the pod has not delivered it"))
}

#[async_trait]
impl Site for PodSite<'_> {
    fn outcome(&self) -> &Outcome {
        &self.delivery.outcome
    }

    async fn layer(&self, _before: &Before, tree: &Tree, repository: &Repository) -> Result<Layer, Fault> {
        let written = find(&self.delivery, tree)?.clone();
        parcel::take_out(self.task, repository, &written).await?;
        Ok(Layer { written, known: None })
    }

    async fn keep(&self, _before: &Before, index: Index) -> Result<(), Fault> {
        cache::keep(self.task, &self.delivery, index).await
    }

    async fn remove(&self) {
        parcel::remove(self.task.common, self.task.request.id).await;
    }
}

/// The cluster did not take what a build needs.
fn not_taken(error: &ClusterError) -> Fault {
    tracing::error!(%error, "a build's pod could not be made");
    match error {
        ClusterError::Foreign { title, namespace } => {
            Fault::new("build/foreign-object", "The build failed: something in the cluster is in its way.")
                .why(format!("{title} exists in the namespace {namespace} and is not this platform's."))
                .next("The operator removes it, or names another namespace ([kubernetes] build_namespace).")
        }
        ClusterError::Another { namespace, platform } => {
            let what = "The build failed: another installation of the same name works in the cluster.";
            of_another(Fault::new("build/foreign-object", what), namespace, platform)
        }
        ClusterError::Refused { title, message } => {
            Fault::new("build/refused", format!("The build failed: the cluster refused {title}."))
                .why(message.clone())
                .next("The cluster's operator knows the rule; push again once it allows this.")
        }
        ClusterError::Terminating { .. } | ClusterError::Api { .. } => Fault::new(
            "build/cluster-away",
            "The build failed: the cluster's API server does not answer as it should.",
        )
        .why(error.to_string())
        .next("Push again once it is back."),
    }
}
