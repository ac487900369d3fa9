//! What can be asked for.

/// Something that an actor wants to do. Platform-wide ones take no tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make a tool.
    ToolCreate,
    /// Remove a tool and everything of it.
    ToolDelete,
    /// See a tool: state, releases, builds, instances, settings.
    ToolRead,
    /// Change a tool's settings.
    ToolSettings,
    /// See and change who is a member of a tool.
    MembersManage,
    /// Push to the deploy branch.
    Push,
    /// Fetch from the tool's repository.
    Fetch,
    /// Build the live commit again.
    Redeploy,
    /// End a build.
    BuildCancel,
    /// Read build and runtime logs.
    LogsRead,
    /// Read config values, secrets among them.
    ConfigRead,
    /// Set and unset config values.
    ConfigWrite,
    /// Restart instances.
    Restart,
    /// Change the number of instances.
    Scale,
    /// Go back to an earlier release.
    Rollback,
    /// Run a one-off process in the tool's image.
    RunOnce,
    /// Add and remove one's own SSH keys (no tool), or the deploy keys of a tool.
    KeysManage,
    /// Issue and revoke one's own tokens.
    TokensManage,
    /// Make and list accounts, and their keys.
    AdminMaintainers,
    /// Copy the whole platform, and rotate its keys.
    AdminBackup,
    /// Pull an image of a tool; of a stack where there is no tool.
    RegistryPull,
    /// Push an image of a tool; of a stack where there is no tool.
    RegistryPush,
}
