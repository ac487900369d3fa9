//! What a server does of all that there is to do: everything where it is alone, some of it where several share the work.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Takes pushes and fetches
    Ssh,
    /// Answers the API, and serves images
    Api,
    /// Runs builds and their rollouts
    Builder,
    /// Looks after what runs and cleans up, for all; one of those that may does it at a time
    Controller,
    /// Carries the traffic of tools
    Router,
}

/// Which parts of the work this server does.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Roles {
    /// What this server does, where several share the work: ssh, api, builder, controller, router. Everything where not given
    #[arg(long, env = "HYTHE_ROLES", value_name = "ROLES", value_delimiter = ',', value_enum, default_values = ["ssh", "api", "builder", "controller", "router"], hide_default_value = true, hide_possible_values = true)]
    roles: Vec<Role>,
}

impl Default for Roles {
    fn default() -> Self {
        Self { roles: Role::value_variants().to_vec() }
    }
}

impl Roles {
    /// Whether this is done here.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// A refusal where a part would be done by nobody.
    pub(crate) fn check(&self, is_shared: bool) -> Result<()> {
        let missing: Vec<_> = Role::value_variants().iter().filter(|role| !self.has(**role)).collect();
        if !is_shared && !missing.is_empty() {
            bail!(
                "this is the only server, so nobody would do what --roles leaves out ({}).\n  \
                 Take --roles away, or let several servers share the work: folder in [objects].",
                names(&missing)
            );
        }
        Ok(())
    }
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&names(&self.roles.iter().collect::<Vec<_>>()))
    }
}

fn names(roles: &[&Role]) -> String {
    let names = roles.iter().filter_map(|role| role.to_possible_value());
    names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lonely_server_does_everything() {
        let all = Roles::default();
        assert_eq!(all.to_string(), "ssh, api, builder, controller, router");
        assert!(all.check(false).is_ok() && all.check(true).is_ok());
        let some = Roles { roles: vec![Role::Ssh, Role::Api] };
        assert!(some.has(Role::Api) && !some.has(Role::Builder) && some.check(true).is_ok());
        let refused = some.check(false).unwrap_err().to_string();
        assert!(refused.contains("(builder, controller, router)"), "{refused}");
    }
}
