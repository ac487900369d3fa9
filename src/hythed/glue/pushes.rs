//! SSH's keys and pushes, answered by auth and pipeline.

use async_trait::async_trait;
use hythe_auth::{Action, Auth, PublicKey};
use hythe_model::{Fault, PushRequest, ToolName};
use hythe_pipeline::Platform;
use hythe_ssh::{Access, Identity, KeyDirectory, OfferedKey, PushHandler, PushOutcome, PushRules, Screen};
use tokio_util::sync::CancellationToken;

/// Whose key it is and what it may do.
pub(crate) struct Keys(pub(crate) Auth);

#[async_trait]
impl KeyDirectory for Keys {
    async fn authenticate(&self, key: &OfferedKey) -> Result<Option<Identity>, Fault> {
        // A key of a kind that is not accepted is nobody's.
        let Ok(offered) = PublicKey::parse(&key.openssh) else { return Ok(None) };
        let found = self.0.authenticate_key(&offered).await?;
        Ok(found.map(|identity| Identity { actor: identity.actor, fingerprint: key.fingerprint.clone() }))
    }

    async fn may(&self, identity: &Identity, access: Access, tool: &ToolName) -> Result<bool, Fault> {
        let action = match access {
            Access::Push => Action::Push,
            Access::Fetch => Action::Fetch,
        };
        let known = self.0.knows_key(&identity.fingerprint).await?;
        Ok(known && self.0.allow(&identity.actor, action, Some(tool)).await?.is_allowed())
    }
}

/// What happens with a push.
pub(crate) struct Pushes(pub(crate) Platform);

#[async_trait]
impl PushHandler for Pushes {
    async fn prepare(&self, tool: &ToolName) -> Result<(), Fault> {
        self.0.prepare_repository(tool).await
    }

    async fn rules(&self, tool: &ToolName) -> Result<PushRules, Fault> {
        let row = self.0.store().tool(tool).await?;
        let settings = row.map(|tool| tool.settings).unwrap_or_default();
        Ok(PushRules { branches: settings.deploy_branches, allow_force: false })
    }

    async fn push(
        &self,
        request: PushRequest,
        screen: Screen,
        cancel: CancellationToken,
    ) -> Result<PushOutcome, Fault> {
        Ok(match self.0.push(request, screen, cancel).await? {
            hythe_pipeline::PushOutcome::Live { release } => PushOutcome::Live { release },
            hythe_pipeline::PushOutcome::Detached { build } => PushOutcome::Detached { build },
        })
    }
}
