//! From wishes to the cluster: what differs is written by server-side apply, what is not wished any more goes, and what
//! is somebody else's is never touched.

use crate::compare::{covers_object, merge_patch, of_what_is_there};
use crate::{Known, Object, Owner, Streams, selector};
use backon::{ExponentialBuilder, Retryable};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    LimitRange, Namespace, PersistentVolumeClaim, Pod, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams,
    PostParams,
};
use kube::runtime::wait::await_condition;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// Who owns the fields that are written here.
const FIELD_MANAGER: &str = "hythe";
/// Objects that one answer of the API server holds at most.
const PAGE: u32 = 500;
/// How long a grant may take until it counts, and how often that is looked at.
const GRANTED: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(25);
/// How long one request may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Kinds that no watch shows.
pub const SECRET: &str = "Secret";
const GRANT: &str = "RoleBinding";
/// What is bound to data of somebody else's.
const CLAIM: &str = "PersistentVolumeClaim";
/// How the API server begins to say that a name is still taken.
const LEAVING: &str = "object is being deleted";

/// What went wrong between us and the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An object of that name is there, and it is not ours.
    #[error("{title} in namespace {namespace} exists and belongs to somebody else")]
    Foreign {
        /// Kind and name.
        title: String,
        /// Where it is.
        namespace: String,
    },
    /// The namespace is of another installation, which has been given the same name.
    #[error("the namespace {namespace} is of another installation that is called {platform} too")]
    Another {
        /// Which.
        namespace: String,
        /// What both are called.
        platform: String,
    },
    /// The namespace is being deleted and is still there.
    #[error("the namespace {namespace} is still being deleted")]
    Terminating {
        /// Which.
        namespace: String,
    },
    /// The API server refused an object: its own rules, a quota, or a webhook's.
    #[error("{title} was refused: {message}")]
    Refused {
        /// Kind and name, or what was asked.
        title: String,
        /// In the API server's words.
        message: String,
    },
    /// It did not answer, or not as it should.
    #[error("the API server failed to {operation}: {reason}")]
    Api {
        /// What it was to do.
        operation: String,
        /// What it said instead.
        reason: String,
    },
}

/// The cluster's API, as this platform writes to it.
#[derive(Clone)]
pub struct Cluster {
    /// The connection.
    pub client: Client,
    /// Others, for what stays open.
    pub streams: Streams,
    /// This installation among others in the same cluster.
    pub(crate) platform: String,
    /// Its own number, noted in namespaces: another one may have been given the same name. Not known where `None`.
    pub(crate) number: Option<Arc<str>>,
    /// How objects were when they were last right.
    pub known: Arc<Known>,
}

/// Kinds that lie in a namespace of ours and are ours to prune.
pub(crate) fn kinds() -> [ApiResource; 11] {
    [
        ApiResource::erase::<ResourceQuota>(&()),
        ApiResource::erase::<LimitRange>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        ApiResource::erase::<CronJob>(&()),
    ]
}

/// Kinds that are watched in the whole cluster: ours to prune, and namespaces. A Secret may be read in our own namespaces alone.
pub fn watched_kinds() -> impl Iterator<Item = ApiResource> {
    let own = kinds().into_iter().filter(|resource| resource.kind != SECRET);
    std::iter::once(ApiResource::erase::<Namespace>(&())).chain(own)
}

/// Whether objects of a kind stay when they are not wished any more: a volume that was bound to a claim is given to no other one.
pub fn stays(kind: &str) -> bool {
    kind == CLAIM
}

/// What is in a namespace, by kind and name.
pub type Present = HashMap<(String, String), DynamicObject>;

/// What an application found and did.
#[derive(Default)]
pub struct Applied {
    /// Kinds and names of what had to be written.
    pub written: Vec<String>,
    /// What was in the namespace before.
    pub present: Present,
}

impl Cluster {
    fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        if resource.kind == "Namespace" {
            return Api::all_with(self.client.clone(), resource);
        }
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    /// What a watch of everything that is this platform's asks for.
    pub fn watched(&self) -> watcher::Config {
        watcher::Config::default().labels(&selector(&self.platform)).page_size(PAGE)
    }

    /// Makes all of these so, in this order; what had to be written, and what was there before. The first is the namespace, and
    /// what gives rights in it follows.
    pub async fn apply(&self, owner: &Owner, objects: &[Object]) -> Result<Applied, ClusterError> {
        let Some((first, others)) = objects.split_first() else { return Ok(Applied::default()) };
        let first = &self.noted(first);
        let namespace = first.value.name_any();
        let there = self.namespace(owner, &namespace).await?;
        let mut written = Vec::new();
        if self.write_where_it_differs(owner, first, there.as_ref(), &namespace).await? {
            written.push(first.title());
        }
        let grants = others.iter().take_while(|object| object.resource.kind == GRANT).count();
        let (grants, others) = others.split_at(grants);
        for grant in grants {
            if self.grant(owner, grant, &namespace).await? {
                written.push(grant.title());
            }
        }
        // Also of kinds that are not ours to prune: what is somebody else's is to be seen.
        let mut listed = Vec::from(kinds());
        for object in others {
            if !listed.contains(&object.resource) {
                listed.push(object.resource.clone());
            }
        }
        let present = if there.is_some() { self.list(&namespace, listed).await? } else { Present::new() };
        for object in others {
            let key = (object.resource.kind.clone(), object.value.name_any());
            if self.write_where_it_differs(owner, object, present.get(&key), &namespace).await? {
                written.push(object.title());
            }
        }
        Ok(Applied { written, present })
    }

    /// The namespace, where it is there and its owner's.
    async fn namespace(&self, owner: &Owner, name: &str) -> Result<Option<DynamicObject>, ClusterError> {
        let resource = ApiResource::erase::<Namespace>(&());
        let api = self.api(&resource, name);
        let found = patient("read a namespace", || api.get_opt(name)).await?;
        match found {
            Some(found) if !owner.owns(&found) => {
                let (title, namespace) = (format!("Namespace {name}"), name.to_owned());
                Err(ClusterError::Foreign { title, namespace })
            }
            Some(found) if self.is_anothers(&found) => {
                Err(ClusterError::Another { namespace: name.to_owned(), platform: self.platform.clone() })
            }
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                Err(ClusterError::Terminating { namespace: name.to_owned() })
            }
            found => Ok(found),
        }
    }

    /// Gives ourselves rights in a namespace of ours, and waits until they count; whether they had to be written.
    async fn grant(&self, owner: &Owner, grant: &Object, namespace: &str) -> Result<bool, ClusterError> {
        let (api, name) = (self.api(&grant.resource, namespace), grant.value.name_any());
        let there = patient("read a RoleBinding", || api.get_opt(&name)).await?;
        if !self.write_where_it_differs(owner, grant, there.as_ref(), namespace).await? {
            return Ok(false);
        }
        let question = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some("patch".to_owned()),
            resource: Some("secrets".to_owned()),
            ..ResourceAttributes::default()
        };
        let until = tokio::time::Instant::now() + GRANTED;
        loop {
            if patient("tell our rights", || self.may(question.clone())).await? {
                return Ok(true);
            }
            if tokio::time::Instant::now() > until {
                let message = format!("it gives no right to write Secrets in {namespace}");
                return Err(ClusterError::Refused { title: grant.title(), message });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whether what no watch shows of a namespace is as it is wished: our rights in it, and its Secrets.
    pub async fn unwatched_is_right(&self, owner: &Owner, objects: &[Object]) -> Result<bool, ClusterError> {
        let Some(namespace) = objects.first().map(|first| first.value.name_any()) else { return Ok(true) };
        let of_kind = |kind: &'static str| objects.iter().filter(move |object| object.resource.kind == kind);
        for grant in of_kind(GRANT) {
            let (api, name) = (self.api(&grant.resource, &namespace), grant.value.name_any());
            let there = patient("read a RoleBinding", || api.get_opt(&name)).await?;
            if !there.is_some_and(|there| self.known.look(owner, grant, &there)) {
                return Ok(false);
            }
        }
        let secrets = self.list(&namespace, [ApiResource::erase::<Secret>(&())]).await?;
        let right = |wanted: &Object| {
            let there = secrets.get(&(SECRET.to_owned(), wanted.value.name_any()));
            there.is_some_and(|there| self.known.look(owner, wanted, there))
        };
        let ours = secrets.values().filter(|secret| owner.owns(*secret)).count();
        Ok(of_kind(SECRET).all(right) && of_kind(SECRET).count() == ours)
    }

    /// Everything of these kinds in a namespace, whoever made it.
    async fn list(
        &self,
        namespace: &str,
        kinds: impl IntoIterator<Item = ApiResource>,
    ) -> Result<Present, ClusterError> {
        let lists = kinds.into_iter().map(|resource| async move {
            let api = self.api(&resource, namespace);
            let mut found = Vec::new();
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = patient("list a namespace", || api.list(&params)).await?;
                let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
                let key = |object: DynamicObject| ((resource.kind.clone(), object.name_any()), object);
                found.extend(page.items.into_iter().map(key));
                match next {
                    Some(token) => params = params.continue_token(&token),
                    None => return Ok(found),
                }
            }
        });
        Ok(try_join_all(lists).await?.into_iter().flatten().collect())
    }

    /// Whether the API server would take these, in a namespace that is there: nothing is written.
    pub async fn try_out(&self, namespace: &str, objects: &[Object]) -> Result<(), ClusterError> {
        let params = PatchParams::apply(FIELD_MANAGER).force().dry_run();
        for object in objects {
            self.patch(object, namespace, &params, &Patch::Apply(&object.value)).await?;
        }
        Ok(())
    }

    async fn patch(
        &self,
        object: &Object,
        namespace: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize + Debug>,
    ) -> Result<DynamicObject, ClusterError> {
        let (api, name) = (self.api(&object.resource, namespace), object.value.name_any());
        let operation = format!("write {}", object.title());
        let patched = patient(&operation, || api.patch(&name, params, patch));
        patched.await.map_err(|error| of_object(error, object.title()))
    }

    /// Whether it differed and was written.
    async fn write_where_it_differs(
        &self,
        owner: &Owner,
        wanted: &Object,
        there: Option<&DynamicObject>,
        namespace: &str,
    ) -> Result<bool, ClusterError> {
        match there {
            Some(there) if !owner.owns(there) => {
                return Err(ClusterError::Foreign { title: wanted.title(), namespace: namespace.to_owned() });
            }
            Some(there) if self.known.look(owner, wanted, there) => return Ok(false),
            _ => {}
        }
        let wished =
            there.map_or(Cow::Borrowed(&wanted.value), |there| of_what_is_there(there, &wanted.value));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let mut made = self.patch(wanted, namespace, &params, &Patch::Apply(&*wished)).await?;
        if there.is_some() && !covers_object(&made, &wished) {
            let (params, patch) = (PatchParams { force: false, ..params }, merge_patch(&made, &wished));
            made = self.patch(wanted, namespace, &params, &Patch::Merge(patch)).await?;
        }
        self.known.note(&wanted.resource.kind, &made);
        Ok(true)
    }

    /// Removes what is present, carries the owner's labels, is none of these and does not stay; how many went.
    pub async fn prune(
        &self,
        owner: &Owner,
        objects: &[Object],
        present: Present,
    ) -> Result<usize, ClusterError> {
        let Some(namespace) = objects.first().map(|first| first.value.name_any()) else { return Ok(0) };
        let wanted = |kind: &str, name: &str| {
            objects.iter().any(|object| object.resource.kind == kind && object.value.name_any() == name)
        };
        let mut removed = 0;
        for ((kind, name), object) in present {
            if stays(&kind) || !owner.owns(&object) || wanted(&kind, &name) {
                continue;
            }
            let Some(resource) = kinds().into_iter().find(|resource| resource.kind == kind) else { continue };
            self.known.forget(&kind, &namespace, &name);
            remove(&self.api(&resource, &namespace), &name, &DeleteParams::background()).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes a namespace with everything in it and waits until it is gone, at most this long.
    pub async fn remove_namespace(
        &self,
        owner: &Owner,
        name: &str,
        patience: Duration,
    ) -> Result<(), ClusterError> {
        let is_going = match self.namespace(owner, name).await {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => false,
            Err(ClusterError::Terminating { .. }) => true,
            Err(error) => return Err(error),
        };
        self.known.forget_namespace(name);
        let api = self.api(&ApiResource::erase::<Namespace>(&()), name);
        // One that goes is emptied by the cluster, and our rights in it may be gone already.
        if !is_going {
            self.end_pods(name).await?;
            remove(&api, name, &DeleteParams::background()).await?;
        }
        let gone = await_condition(api, name, |found: Option<&DynamicObject>| found.is_none());
        match tokio::time::timeout(patience, gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(ClusterError::Api {
                operation: "see a namespace go".to_owned(),
                reason: error.to_string(),
            }),
            Err(_) => Err(ClusterError::Terminating { namespace: name.to_owned() }),
        }
    }

    /// Ends what runs in a namespace, at once: one that holds nothing any more goes quickly.
    async fn end_pods(&self, namespace: &str) -> Result<(), ClusterError> {
        let (now, all) = (DeleteParams::background().grace_period(0), ListParams::default());
        let kinds = [
            ApiResource::erase::<Deployment>(&()),
            ApiResource::erase::<CronJob>(&()),
            ApiResource::erase::<Job>(&()),
            ApiResource::erase::<Pod>(&()),
        ];
        for resource in kinds {
            let api = self.api(&resource, namespace);
            let operation = format!("end the {} of {namespace}", resource.plural);
            patient(&operation, || async { api.delete_collection(&now, &all).await.map(drop) }).await?;
        }
        Ok(())
    }
}

/// Makes an object. One that is there with its labels was made by an attempt whose answer was lost, and one without them is somebody
/// else's. One that is being deleted is waited for.
pub async fn create<K>(api: &Api<K>, object: &K) -> Result<(), ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let (params, title) = (PostParams::default(), title(object));
    let operation = format!("make {title}");
    let created = patient(&operation, || async {
        match api.create(&params, object).await {
            Err(kube::Error::Api(status))
                if status.reason == "AlreadyExists" && !status.message.starts_with(LEAVING) =>
            {
                let is_ours = |there: &PartialObjectMeta<K>| {
                    object.labels().iter().all(|(label, value)| there.labels().get(label) == Some(value))
                };
                Ok(named(api, &object.name_any()).await?.iter().all(is_ours))
            }
            other => other.map(|_| true),
        }
    });
    match created.await {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(ClusterError::Foreign { title, namespace: api.namespace().unwrap_or_default().to_owned() })
        }
        Err(error) => Err(of_object(error, title)),
    }
}

/// Whether the API server would take a new object: nothing is made.
pub async fn try_create<K>(api: &Api<K>, object: &K) -> Result<(), ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let (params, title) = (PostParams { dry_run: true, ..PostParams::default() }, title(object));
    let operation = format!("try {title}");
    let tried = patient(&operation, || async { api.create(&params, object).await.map(drop) });
    tried.await.map_err(|error| of_object(error, title))
}

/// The object of this name, where there is one: who may list a kind need not be allowed to get it.
async fn named<K>(api: &Api<K>, name: &str) -> Result<Vec<PartialObjectMeta<K>>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    Ok(api.list_metadata(&params).await?.items)
}

/// Kind and name of an object.
fn title<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.meta().name.as_deref().unwrap_or_default()).trim_end().to_owned()
}

/// A refusal names what was refused, and not what was asked.
fn of_object(error: ClusterError, title: String) -> ClusterError {
    match error {
        ClusterError::Refused { message, .. } => ClusterError::Refused { title, message },
        error => error,
    }
}

/// Deletes an object; one that is not there is deleted already.
pub async fn remove<K>(api: &Api<K>, name: &str, how: &DeleteParams) -> Result<(), ClusterError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let operation = format!("delete {name}");
    let removed = patient(&operation, || async {
        match api.delete(name, how).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    });
    removed.await
}

/// Deletes an object where it is its owner's; one that is not there is deleted already.
pub async fn remove_own<K>(
    api: &Api<K>,
    owner: &Owner,
    name: &str,
    how: &DeleteParams,
) -> Result<(), ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let there = patient(&format!("look for {name}"), || named(api, name)).await?;
    if there.iter().any(|there| owner.owns(there)) { remove(api, name, how).await } else { Ok(()) }
}

/// Tries until the API server answers: one that is slow, throttles, restarts, has just begun or is away for a minute is waited out.
///
/// An attempt that is not answered within half a minute is given up and made again.
pub async fn patient<T, F, W>(operation: &str, mut work: F) -> Result<T, ClusterError>
where
    F: FnMut() -> W,
    W: Future<Output = Result<T, kube::Error>>,
{
    let waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .with_total_delay(Some(Duration::from_mins(2)))
        .without_max_times()
        .with_jitter();
    let mut attempt = || {
        let work = work();
        async move {
            let answer = tokio::time::timeout(ATTEMPT, Box::pin(work)).await;
            answer.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late))))
        }
    };
    (|| attempt()).retry(waits).when(is_transient).await.map_err(|error| told(operation, error))
}

fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            let passes = matches!(status.code, 408 | 409 | 429 | 500 | 502 | 503 | 504);
            (passes || is_early(&status.message)) && !is_denial(&status.message)
        }
        kube::Error::Auth(_) | kube::Error::BuildRequest(_) | kube::Error::SerdeError(_) => false,
        _ => true,
    }
}

/// Whether an API server refuses what it does not know enough for yet, as when it has just begun or a quota is new.
pub fn is_early(message: &str) -> bool {
    ["not yet ready to handle request", "status unknown for quota"]
        .iter()
        .any(|words| message.contains(words))
}

/// Whether a rule of the cluster's own has refused it.
pub fn is_denial(message: &str) -> bool {
    message.contains("denied the request") || message.contains("denied request")
}

fn told(operation: &str, error: kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status)
            if is_denial(&status.message)
                || (matches!(status.code, 400 | 403 | 413 | 422) && !is_early(&status.message)) =>
        {
            ClusterError::Refused { title: operation.to_owned(), message: status.message.clone() }
        }
        error => ClusterError::Api { operation: operation.to_owned(), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
