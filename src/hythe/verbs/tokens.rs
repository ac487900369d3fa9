//! `hythe tokens`.

use crate::client::{delete, get, post, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Table, ago};
use clap::{Args, Subcommand};
use hythe_api::types::{IssuedToken, NewToken, Token};

/// API tokens of yours
#[derive(Args)]
pub(crate) struct Tokens {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Issue a token; its secret is printed once
#[derive(Args)]
struct Create {
    /// What it is for
    name: String,
    /// Days until it stops to count; without this flag it never does
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
    expires: Option<u64>,
}

/// List tokens
#[derive(Args)]
struct List {}

/// Revoke a token
#[derive(Args)]
struct Revoke {
    /// Its number, as `hythe tokens list` shows it
    id: i64,
}

impl Tokens {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.verb {
            Verb::Create(verb) => verb.run(context).await,
            Verb::List(_) => list(context).await,
            Verb::Revoke(verb) => verb.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = NewToken { name: self.name, expires_in: self.expires.map(|days| days * 86_400) };
        let answer = context.client()?.call(post(&["tokens"]).body(&body)).await?;
        if context.json {
            return output::object(&answer);
        }
        let issued: IssuedToken = read(answer)?;
        let until =
            issued.token.expires_at.map(|at| format!(", until {}", output::exact(at))).unwrap_or_default();
        // The secret alone is the output, so that it can be piped on.
        output::note(format!("Token {}{until}. It is shown this once:", issued.token.id))?;
        output::line(issued.secret)
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let answer = context.client()?.call(get(&["tokens"])).await?;
    if context.json {
        return output::object(&answer);
    }
    let tokens: Vec<Token> = read(answer)?;
    if tokens.is_empty() {
        return output::line("No token yet. Issue one: hythe tokens create NAME");
    }
    let mut table = Table::new(&["TOKEN", "ISSUED", "USED", "ENDS", "FOR"]);
    for token in tokens {
        let or_never = |at: Option<jiff::Timestamp>| at.map_or_else(|| "never".to_owned(), ago);
        table.row([
            token.id.to_string().into(),
            ago(token.created_at).into(),
            or_never(token.last_used_at).into(),
            or_never(token.expires_at).into(),
            token.name.into(),
        ]);
    }
    table.print()
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.id.to_string();
        let answer = context.client()?.call(delete(&["tokens", &id])).await?;
        if context.json {
            return output::object(&answer);
        }
        output::line(format!("Token {id} is revoked."))
    }
}
