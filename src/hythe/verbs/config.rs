//! `hythe config`.

use crate::client::{get, patch, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::{self, Table};
use crate::watch;
use clap::{Args, Subcommand};
use hythe_api::types::{ConfigEntry, ConfigPatch, ConfigScope, ConfigSet, Release};

/// Config of a tool: encrypted at rest, given to builds and instances as environment variables, or as files where project.toml says so
#[derive(Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Set(Set),
    Unset(Unset),
    List(List),
}

/// Set keys and release them together
///
/// `KEY=-` reads the value from standard input, so that it stays out of the shell's history.
#[derive(Args)]
struct Set {
    /// Keys and values
    #[arg(required = true, value_name = "KEY=VALUE|KEY=-")]
    pairs: Vec<String>,
    /// For builds only
    #[arg(long, conflicts_with = "run")]
    build: bool,
    /// For instances only
    #[arg(long)]
    run: bool,
}

/// Remove keys and release without them
#[derive(Args)]
struct Unset {
    /// Keys
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
}

/// List keys and where they are seen
#[derive(Args)]
struct List {
    /// With their values, where your token may read them
    #[arg(long)]
    values: bool,
}

impl Config {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.verb {
            Verb::Set(verb) => verb.run(context).await,
            Verb::Unset(verb) => {
                change(context, ConfigPatch { unset: verb.keys, ..ConfigPatch::default() }).await
            }
            Verb::List(verb) => verb.run(context).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let scope = match (self.build, self.run) {
            (true, _) => ConfigScope::Build,
            (_, true) => ConfigScope::Run,
            _ => ConfigScope::Both,
        };
        if self.pairs.iter().filter(|pair| pair.ends_with("=-")).count() > 1 {
            return Err(Failure::usage("stdin", "Only one value can come from standard input."));
        }
        let set = self.pairs.iter().map(|pair| read_pair(pair, scope)).collect::<Result<Vec<_>, _>>()?;
        change(context, ConfigPatch { set, unset: Vec::new() }).await
    }
}

fn read_pair(pair: &str, scope: ConfigScope) -> Result<ConfigSet, Failure> {
    // The pair may be a secret that lost its key: it is not repeated in the message.
    let (key, value) = pair.split_once('=').ok_or_else(|| {
        Failure::usage(
            "pair",
            "A key has no value: write KEY=VALUE, or KEY=- to read the value from standard input.",
        )
    })?;
    let value = if value == "-" {
        let text = input::text()?;
        // One line's end belongs to the shell, not to the value.
        text.strip_suffix('\n')
            .map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text))
            .to_owned()
    } else {
        value.to_owned()
    };
    Ok(ConfigSet { key: key.to_owned(), value, scope })
}

async fn change(context: &Context, body: ConfigPatch) -> Result<(), Failure> {
    let tool = context.tool()?;
    let client = context.client()?;
    let path = ["tools", tool.as_str(), "config"];
    let set: Vec<_> = body.set.iter().map(|entry| entry.key.as_str()).collect();
    let what = match (&set[..], &body.unset[..]) {
        (set, []) => format!("{} set", set.join(", ")),
        (_, unset) => format!("{} removed", unset.join(", ")),
    };
    let now_true = |release: Option<&Release>| match release {
        Some(release) => format!("{} has {what}", release.number),
        None => format!("{what}; the first release takes it up."),
    };
    watch::until_done(context, &client, patch(&path).body(&body), &tool, "releasing the config", now_true)
        .await
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let path = ["tools", tool.as_str(), "config"];
        let answer = context.client()?.call(get(&path).query("values", self.values.then_some(true))).await?;
        if context.json {
            return output::object(&answer);
        }
        let entries: Vec<ConfigEntry> = read(answer)?;
        if entries.is_empty() {
            return output::line(format!("{tool} has no config. Set some: hythe config set KEY=VALUE"));
        }
        let mut table =
            Table::new(if self.values { &["KEY", "SEEN BY", "VALUE"] } else { &["KEY", "SEEN BY"] });
        for entry in entries {
            let value = entry.value.map(|value| value.escape_debug().to_string()).unwrap_or_default();
            table.row([entry.key.into(), entry.scope.word().into(), value.into()]);
        }
        table.print()
    }
}
