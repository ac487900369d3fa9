//! What `hythed check-config` asks of a cluster: its version, our rights, and what holds us back. Nothing is changed.

use crate::fence::Account;
use crate::{Cluster, LABEL_PLATFORM};
use futures::{StreamExt, TryStreamExt, stream};
use hythe_model::{Finding, Verdict};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use std::collections::BTreeMap;
use std::time::Duration;

const ABOUT: &str = "cluster";
/// The rights that an installation has, as it is given them.
const RIGHTS: &str = include_str!("../../deploy/kubernetes/base/rights.yaml");
const APPLY: &str = "kubectl apply -k deploy/kubernetes/base, or your overlay, of this version";
/// The platform whose name they are written for.
const WRITTEN_FOR: &str = "hythe";
const OF_THE_SERVER: &str = "hythe-server";
const OF_TOOLS: &str = "hythe-tools";
/// The oldest minor release of Kubernetes 1 that the stories run on.
const OLDEST: u32 = 35;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Questions at a time.
const AT_ONCE: usize = 16;

impl Cluster {
    /// Whether this platform can work there, with `account` in an installation of its own rights: then what it may do in its
    /// namespaces is looked at in that of builds, where it has one.
    pub async fn check(&self, account: Option<&Account>, builds: &str) -> Vec<Finding> {
        let found = tokio::time::timeout(PATIENCE, self.look(account, builds)).await;
        let failed = |why: String| {
            let mend = "see that kubeconfig in [kubernetes], or KUBECONFIG, leads to the API server, or run hythed in a pod";
            vec![Finding::lacking(ABOUT, Verdict::Failure, why, mend)]
        };
        match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => failed(format!("the API server does not answer as it should: {error}")),
            Err(_) => failed("the API server does not answer".to_owned()),
        }
    }

    async fn look(&self, account: Option<&Account>, builds: &str) -> Result<Vec<Finding>, kube::Error> {
        let version = self.client.apiserver_version().await?;
        let mut found = vec![version_finding(&version.major, &version.minor, &version.git_version)];
        let [server, tools] = [OF_THE_SERVER, OF_TOOLS].map(rules);
        let mut wanted = self.questions(&server, account.is_some(), None);
        let of_builds = match account {
            None => Some(None),
            Some(_) => self.has_namespace(builds).await?.then_some(Some(builds)),
        };
        wanted.extend(of_builds.into_iter().flat_map(|at| self.questions(&tools, account.is_some(), at)));
        let asked = wanted.len();
        let lacking: Vec<_> = stream::iter(wanted)
            .map(|question| self.is_refused(question))
            .buffered(AT_ONCE)
            .try_filter_map(|refused| async move { Ok(refused) })
            .try_collect()
            .await?;
        found.push(match lacking.as_slice() {
            [] => Finding::pass(ABOUT, format!("all {asked} rights that are needed are there")),
            some => {
                let detail = format!("rights are missing: {}", some.join("; "));
                Finding::lacking(ABOUT, Verdict::Failure, detail, APPLY)
            }
        });
        if account.is_some() {
            found.push(self.is_held_back().await?);
        }
        Ok(found)
    }

    async fn has_namespace(&self, name: &str) -> Result<bool, kube::Error> {
        let found = Api::<Namespace>::all(self.client.clone()).get_opt(name).await;
        match found {
            Ok(found) => Ok(found.is_some_and(|found| found.metadata.deletion_timestamp.is_none())),
            // It is among what is missing then.
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is to be asked about these rules. Who has no account gives itself no rights.
    fn questions(
        &self,
        rules: &[PolicyRule],
        has_account: bool,
        namespace: Option<&str>,
    ) -> Vec<ResourceAttributes> {
        let mut questions = Vec::new();
        for rule in rules {
            let groups = rule.api_groups.iter().flatten();
            for group in groups.filter(|group| has_account || !group.starts_with("rbac.")) {
                for resource in rule.resources.iter().flatten() {
                    let (resource, subresource) = match resource.split_once('/') {
                        Some((resource, sub)) => (resource, Some(sub.to_owned())),
                        None => (resource.as_str(), None),
                    };
                    let name = rule.resource_names.iter().flatten().next();
                    questions.extend(rule.verbs.iter().map(|verb| ResourceAttributes {
                        group: Some(group.clone()),
                        resource: Some(resource.to_owned()),
                        subresource: subresource.clone(),
                        name: name.map(|name| name.replacen(WRITTEN_FOR, &self.platform, 1)),
                        namespace: namespace.map(str::to_owned),
                        verb: Some(verb.clone()),
                        ..ResourceAttributes::default()
                    }));
                }
            }
        }
        questions
    }

    /// What is not allowed, in words.
    async fn is_refused(&self, question: ResourceAttributes) -> Result<Option<String>, kube::Error> {
        let words = words(&question);
        Ok((!self.may(question).await?).then_some(words))
    }

    /// Whether the API server would let us.
    pub(crate) async fn may(&self, question: ResourceAttributes) -> Result<bool, kube::Error> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(question),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Whether a namespace that this platform must not make would be refused: the policies that hold it back are in force.
    async fn is_held_back(&self) -> Result<Finding, kube::Error> {
        let labels = BTreeMap::from([(LABEL_PLATFORM.to_owned(), self.platform.clone())]);
        let name = Some(format!("not-of-{}", self.platform));
        let metadata = ObjectMeta { name, labels: Some(labels), ..ObjectMeta::default() };
        let foreign = Namespace { metadata, ..Namespace::default() };
        let how = PostParams { dry_run: true, ..PostParams::default() };
        match Api::<Namespace>::all(self.client.clone()).create(&how, &foreign).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                Ok(Finding::pass(ABOUT, "policies hold the server to namespaces of its own making"))
            }
            Ok(_) => {
                let detail = "nothing holds the server to namespaces of its own making";
                let mend = format!("apply admission.yaml: {APPLY}");
                Ok(Finding::lacking(ABOUT, Verdict::Warning, detail, mend))
            }
            Err(error) => Err(error),
        }
    }
}

fn version_finding(major: &str, minor: &str, shown: &str) -> Finding {
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().unwrap_or_default();
    let detail = format!("Kubernetes {}", shown.trim_start_matches('v'));
    if (number(major), number(minor)) >= (1, OLDEST) {
        return Finding::pass(ABOUT, detail);
    }
    let mend = format!("this version is tried on Kubernetes 1.{OLDEST} and newer");
    Finding::lacking(ABOUT, Verdict::Warning, detail, mend)
}

/// The rules of a role that an installation comes with.
fn rules(role: &str) -> Vec<PolicyRule> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(RIGHTS).unwrap_or_default();
    let is_it = |one: &serde_json::Value| one["kind"] == "ClusterRole" && one["metadata"]["name"] == role;
    let found =
        documents.into_iter().find(is_it).and_then(|found| serde_json::from_value::<ClusterRole>(found).ok());
    found.and_then(|role| role.rules).unwrap_or_default()
}

fn words(question: &ResourceAttributes) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let sub = question.subresource.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
    let name = question.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let place = question.namespace.as_ref().map_or("everywhere".to_owned(), |at| format!("in {at}"));
    format!("{} {}{sub}{name} {place}", part(&question.verb), part(&question.resource))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What says why of every right.
    const README: &str = include_str!("../../deploy/kubernetes/README.md");

    /// What a role is given: resources, with the name of the one object where there is one, and verbs.
    fn given(role: &str) -> BTreeSet<(String, String)> {
        let mut given = BTreeSet::new();
        for rule in rules(role) {
            let names = rule.resource_names.iter().flatten().map(|name| format!(" `{name}`"));
            let name = names.collect::<Vec<_>>().concat();
            for resource in rule.resources.iter().flatten() {
                given.extend(rule.verbs.iter().map(|verb| (format!("{resource}{name}"), verb.clone())));
            }
        }
        given
    }

    /// The same, as the README's table has it.
    fn told(role: &str) -> BTreeSet<(String, String)> {
        let table = README.lines().skip_while(|line| !line.starts_with("| ClusterRole |")).skip(2);
        let (mut of, mut told) = ("", BTreeSet::new());
        for row in table.take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let ["", named, resources, verbs, _, ""] = cells[..] else { panic!("{row}") };
            if !named.is_empty() {
                of = named.trim_matches('`');
            }
            for resource in resources.split(", ").filter(|_| of == role) {
                told.extend(verbs.split(", ").map(|verb| (resource.to_owned(), verb.to_owned())));
            }
        }
        told
    }

    #[test]
    fn every_right_is_in_the_readme_and_nothing_else_is() {
        for role in [OF_THE_SERVER, OF_TOOLS] {
            let (given, told) = (given(role), told(role));
            let differ: Vec<_> = given.symmetric_difference(&told).collect();
            assert!(!given.is_empty() && differ.is_empty(), "{role}: {differ:?}");
        }
    }

    #[test]
    fn every_line_of_the_rights_is_asked_for() {
        let verbs = |role| rules(role).iter().map(|rule| rule.verbs.len()).sum::<usize>();
        assert!(
            verbs(OF_THE_SERVER) > 20 && verbs(OF_TOOLS) > 30,
            "{}, {}",
            verbs(OF_THE_SERVER),
            verbs(OF_TOOLS)
        );
    }

    #[test]
    fn an_older_release_is_a_warning() {
        for (minor, verdict) in [("35", Verdict::Pass), ("36+", Verdict::Pass), ("34", Verdict::Warning)] {
            assert_eq!(version_finding("1", minor, "v1.x").verdict, verdict, "{minor}");
        }
    }
}
