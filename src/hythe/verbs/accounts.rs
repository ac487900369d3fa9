//! `hythe accounts`.

use crate::client::{get, post, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Table, ago};
use clap::{Args, Subcommand};
use hythe_api::types::{Account, IssuedAccount, NewAccount};
use hythe_model::MaintainerName;

/// Accounts of people and machines; for admins
#[derive(Args)]
pub(crate) struct Accounts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Create(Create),
    List(List),
}

/// Make an account; its first token is printed once, to be passed on
#[derive(Args)]
struct Create {
    /// Its name
    name: MaintainerName,
    /// It administers the platform
    #[arg(long)]
    admin: bool,
}

/// List accounts
#[derive(Args)]
struct List {}

impl Accounts {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.verb {
            Verb::Create(verb) => verb.run(context).await,
            Verb::List(_) => list(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = NewAccount { name: self.name, admin: self.admin };
        let answer = context.client()?.call(post(&["accounts"]).body(&body)).await?;
        if context.json {
            return output::object(&answer);
        }
        let made: IssuedAccount = read(answer)?;
        output::note(format!("{}: account made. Its first token is shown this once:", made.account.name))?;
        output::line(made.first_token.secret)
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let answer = context.client()?.call(get(&["accounts"])).await?;
    if context.json {
        return output::object(&answer);
    }
    let accounts: Vec<Account> = read(answer)?;
    let mut table = Table::new(&["NAME", "ROLE", "MADE"]);
    for account in accounts {
        let role = if account.admin { "admin" } else { "maintainer" };
        table.row([String::from(account.name).into(), role.into(), ago(account.created_at).into()]);
    }
    table.print()
}
