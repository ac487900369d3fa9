//! The verbs, one file each. The doc comment of a verb's arguments is its help.

mod accounts;
mod builds;
mod completions;
mod config;
mod jobs;
mod keys;
mod login;
mod logs;
mod maintainers;
mod open;
mod ps;
mod redeploy;
mod releases;
mod restart;
mod rollback;
mod run;
mod scale;
mod tokens;
mod tools;
mod whoami;

use crate::context::Context;
use crate::failure::Failure;
use clap::Subcommand;

/// Every verb, in the order of the help.
#[derive(Subcommand)]
pub(crate) enum Verb {
    Login(login::Login),
    Whoami(whoami::Whoami),
    Keys(keys::Keys),
    Tools(tools::Tools),
    Maintainers(maintainers::Maintainers),
    Builds(builds::Builds),
    Logs(logs::Logs),
    Ps(ps::Ps),
    Open(open::Open),
    Releases(releases::Releases),
    Rollback(rollback::Rollback),
    Redeploy(redeploy::Redeploy),
    Restart(restart::Restart),
    Scale(scale::Scale),
    Config(config::Config),
    Run(run::Run),
    Jobs(jobs::Jobs),
    Tokens(tokens::Tokens),
    Accounts(accounts::Accounts),
    Completions(completions::Completions),
}

impl Verb {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Login(verb) => verb.run(context).await,
            Self::Whoami(verb) => verb.run(context).await,
            Self::Keys(verb) => verb.run(context).await,
            Self::Tools(verb) => verb.run(context).await,
            Self::Maintainers(verb) => verb.run(context).await,
            Self::Builds(verb) => verb.run(context).await,
            Self::Logs(verb) => verb.run(context).await,
            Self::Ps(verb) => verb.run(context).await,
            Self::Open(verb) => verb.run(context).await,
            Self::Releases(verb) => verb.run(context).await,
            Self::Rollback(verb) => verb.run(context).await,
            Self::Redeploy(verb) => verb.run(context).await,
            Self::Restart(verb) => verb.run(context).await,
            Self::Scale(verb) => verb.run(context).await,
            Self::Config(verb) => verb.run(context).await,
            Self::Run(verb) => verb.run(context).await,
            Self::Jobs(verb) => verb.run(context).await,
            Self::Tokens(verb) => verb.run(context).await,
            Self::Accounts(verb) => verb.run(context).await,
            Self::Completions(verb) => verb.run(),
        }
    }
}
