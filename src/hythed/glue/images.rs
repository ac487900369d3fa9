//! The registry's questions: who is there is answered by auth (the password is a token), what must stay by the releases.

use async_trait::async_trait;
use hythe_auth::{Auth, Checked, Identity, KeyRing, Machine, RegistryAccess};
use hythe_build::{BUILDER_REPOSITORY, build_repository};
use hythe_model::{Actor, BuildId, Digest, MaintainerName};
use hythe_registry::{RegistryAction, RegistryAuth, Repository, Subject, Unproven};
use hythe_store::{BuildState, RetainedRelease, Store};
use std::net::IpAddr;

/// Who may pull and push images, and which of them stay.
pub(crate) struct ImageAuth {
    auth: Auth,
    keys: KeyRing,
    store: Store,
    /// Releases of a tool whose images are kept, beside the live one.
    kept: u32,
}

impl ImageAuth {
    /// Answers from these rows; of each tool the images of so many releases stay.
    pub(crate) fn new(auth: Auth, keys: KeyRing, store: Store, kept: u32) -> Self {
        Self { auth, keys, store, kept }
    }
}

impl ImageAuth {
    /// A node pulls, and the pod of a build has the build's own repository for as long as that runs.
    async fn machine_may(&self, machine: &Machine, repository: &Repository, action: RegistryAction) -> bool {
        let pulls = action == RegistryAction::Pull;
        match machine {
            Machine::Tool(tool) => pulls && Repository::of_tool(tool) == *repository,
            Machine::Builder => pulls && repository.as_str() == BUILDER_REPOSITORY,
            Machine::Build(build) => {
                let own = repository.as_str() == build_repository(*build);
                own && action != RegistryAction::Delete && self.is_running(*build).await
            }
        }
    }

    async fn is_running(&self, build: BuildId) -> bool {
        match self.store.build(build).await {
            Ok(row) => row.is_some_and(|row| row.state == BuildState::Running),
            Err(error) => {
                tracing::error!(%build, %error, "a build that asks for its repository could not be read");
                false
            }
        }
    }
}

#[async_trait]
impl RegistryAuth for ImageAuth {
    async fn verify(&self, user: &str, secret: &str, from: Option<IpAddr>) -> Result<Subject, Unproven> {
        // A machine's password is as long as a key: nobody guesses it, and it needs no row.
        if self.keys.machine(user, secret).is_some() {
            return Ok(Subject::User(user.to_owned()));
        }
        match self.auth.registry_login(user, secret, from).await {
            Ok(Checked::Known(Identity { actor: Actor::Maintainer(name) })) => {
                Ok(Subject::User(name.to_string()))
            }
            Ok(Checked::TooMany { wait }) => Err(Unproven::TooMany { wait }),
            Ok(Checked::Known(_) | Checked::Unknown) => Err(Unproven::Wrong),
            Err(error) => {
                tracing::error!(%error, "a registry login could not be checked");
                Err(Unproven::Wrong)
            }
        }
    }

    async fn allowed(&self, subject: &Subject, repository: &Repository, action: RegistryAction) -> bool {
        let Subject::User(name) = subject else { return false };
        if let Ok(machine) = name.parse::<Machine>() {
            return self.machine_may(&machine, repository, action).await;
        }
        let Ok(name) = name.parse::<MaintainerName>() else { return false };
        let access = match action {
            RegistryAction::Pull => RegistryAccess::Pull,
            RegistryAction::Push | RegistryAction::Delete => RegistryAccess::Push,
        };
        let identity = Identity { actor: Actor::Maintainer(name) };
        self.auth.registry_allowed(&identity, repository.as_str(), access).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a registry right could not be checked");
            false
        })
    }

    async fn in_use(&self, repository: &Repository, digest: &Digest) -> bool {
        let named = |release: &RetainedRelease| {
            *repository == Repository::of_tool(&release.tool) && release.image == *digest
        };
        match self.store.retained_releases(self.kept).await {
            Ok(releases) => releases.iter().any(named),
            Err(error) => {
                tracing::error!(%error, "the releases that an image may belong to could not be read");
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_model::{
        BuildCause, Fault, Formation, Project, PushOptions, ReleaseCause, SourceTree, ToolName,
    };
    use hythe_store::{BuildOutcome, DeployRef, NewBuild, NewRelease};
    use secrecy::ExposeSecret;
    use std::time::Duration;

    fn new_build(tool: &ToolName) -> NewBuild {
        let source = SourceTree {
            commit: "a".repeat(40).parse().unwrap(),
            subject: String::new(),
            digest: Digest::sha256([1; 32]),
            files: 1,
            bytes: 1,
            project: Project::default(),
        };
        NewBuild {
            tool: tool.clone(),
            source,
            reference: "refs/heads/main".to_owned(),
            old: None,
            options: PushOptions::default(),
            cause: BuildCause::Push,
            actor: Actor::Platform,
        }
    }

    #[tokio::test]
    async fn images_of_releases_that_are_kept_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("hythe.db")).await.unwrap();
        let tool: ToolName = "weather".parse().unwrap();
        store.create_tool(&tool, None).await.unwrap();
        for byte in 1..=3 {
            let release = NewRelease {
                tool: tool.clone(),
                image: Digest::sha256([byte; 32]),
                commit: "a".repeat(40).parse().unwrap(),
                processes: Vec::new(),
                project: Project::default(),
                config: 0,
                formation: Formation::default(),
                cause: ReleaseCause::Restart,
                message: None,
                actor: Actor::Platform,
                build: None,
            };
            let deployed = DeployRef { reference: "refs/heads/main".into(), commit: release.commit.clone() };
            let number = store.create_release(release).await.unwrap().number;
            let before = store.live_release(&tool).await.unwrap().map(|live| live.number);
            store.activate(&tool, number, before, &deployed).await.unwrap();
        }
        let images = ImageAuth::new(Auth::new(store.clone()), KeyRing::load(dir.path()).unwrap(), store, 2);
        let stays = async |repository: &str, byte| {
            images.in_use(&repository.parse().unwrap(), &Digest::sha256([byte; 32])).await
        };
        assert!(stays("tools/weather", 3).await && stays("tools/weather", 2).await);
        assert!(!stays("tools/weather", 1).await, "older than what is kept");
        assert!(!stays("tools/quotes", 3).await, "another tool's");
    }

    #[tokio::test]
    async fn a_machine_opens_its_own_door_while_it_is_to() {
        use RegistryAction::{Delete, Pull, Push};
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("hythe.db")).await.unwrap();
        let tool: ToolName = "weather".parse().unwrap();
        store.create_tool(&tool, None).await.unwrap();
        let build = store.enqueue_build(new_build(&tool)).await.unwrap().id;
        let keys = KeyRing::load(dir.path()).unwrap();
        let images = ImageAuth::new(Auth::new(store.clone()), keys.clone(), store.clone(), 2);
        let other = KeyRing::load(tempfile::tempdir().unwrap().path()).unwrap();
        let of = |machine: &Machine| {
            let (user, password) = keys.machine_access(machine);
            (user, password.expose_secret().to_owned())
        };
        let may = async |machine: &Machine, repository: &str, action| {
            let (user, password) = of(machine);
            let subject = images.verify(&user, &password, None).await.ok().unwrap();
            images.allowed(&subject, &repository.parse().unwrap(), action).await
        };
        let (node, builder, pod) = (Machine::Tool(tool), Machine::Builder, Machine::Build(build));

        assert!(may(&node, "tools/weather", Pull).await && may(&builder, BUILDER_REPOSITORY, Pull).await);
        for (machine, repository, action) in [
            (&node, "tools/weather", Push),
            (&node, "tools/weather", Delete),
            (&node, "tools/quotes", Pull),
            (&node, BUILDER_REPOSITORY, Pull),
            (&node, "caches/weather", Pull),
            (&builder, BUILDER_REPOSITORY, Push),
            (&builder, "tools/weather", Pull),
        ] {
            assert!(!may(machine, repository, action).await, "{machine} {repository} {action:?}");
        }

        // A build has its repository from its begin to its end.
        let own = build_repository(build);
        assert!(!may(&pod, &own, Push).await, "it waits");
        store.claim_next_build("here", Duration::from_mins(1)).await.unwrap().unwrap();
        assert!(may(&pod, &own, Push).await && may(&pod, &own, Pull).await);
        for (repository, action) in [
            (own.as_str(), Delete),
            (&build_repository(BuildId(build.0 + 1)), Push),
            ("tools/weather", Pull),
            ("tools/weather", Push),
            ("caches/weather", Pull),
        ] {
            assert!(!may(&pod, repository, action).await, "{repository} {action:?}");
        }
        store.finish_build(build, BuildOutcome::Cancelled(Fault::new("a/b", "c"))).await.unwrap();
        assert!(!may(&pod, &own, Push).await && !may(&pod, &own, Pull).await, "it has ended");

        // Passwords fit nobody else, and no other platform.
        let (user, password) = of(&node);
        assert!(images.verify("tool+quotes", &password, None).await.is_err());
        assert!(images.verify(&pod.to_string(), &password, None).await.is_err());
        let foreign = other.machine_access(&node).1;
        assert!(images.verify(&user, foreign.expose_secret(), None).await.is_err());
    }
}
