//! The command line of the server: one mode a verb.

use crate::roles::Roles;
use crate::{check, control, first_run, move_rows, rotate, serve, settings, stack};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Hythe's server: takes pushes, builds without root, runs and routes tools.
#[derive(Debug, Parser)]
#[command(name = "hythed", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// Where the configuration and the data are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The configuration file; built-in defaults where there is none
    #[arg(long, env = "HYTHE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder, over the configuration's; made on first run
    #[arg(long, env = "HYTHE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server in the foreground; SIGTERM drains it and leaves tools running
    Serve {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        roles: Roles,
    },
    /// Stop a running server
    Stop {
        #[command(flatten)]
        place: Place,
        /// Stop the tools and builds too
        #[arg(long)]
        all: bool,
    },
    /// Say what this machine can do, and what to mend
    CheckConfig {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        roles: Roles,
    },
    /// Print the configuration file with every setting, its default and its meaning
    PrintConfig,
    /// Print the SSH host key as it stands in `known_hosts`
    HostKey(Place),
    /// Print a new token of the account `admin`, for when every other is lost
    AdminToken(Place),
    /// Copy the whole platform into a new folder while it runs
    Backup {
        #[command(flatten)]
        place: Place,
        /// The folder to make
        to: PathBuf,
        /// Leave the rows out: they are in PostgreSQL and were copied with its tools just before
        #[arg(long)]
        without_rows: bool,
    },
    /// Fill an empty data folder from a backup
    Restore {
        #[command(flatten)]
        place: Place,
        /// The backup
        from: PathBuf,
    },
    /// About the rows
    Store {
        #[command(subcommand)]
        verb: StoreVerb,
    },
    /// Make the stack's layers where a cache folder has none, and print their folder: for a server that can make none
    Stack {
        #[command(flatten)]
        place: Place,
        /// The cache folder, as in `[stacks] cache_dir`
        #[arg(long, value_name = "DIR")]
        cache: PathBuf,
    },
    /// Seal every config value under a new key; the server must be stopped, tools run on
    RotateKeys {
        #[command(flatten)]
        place: Place,
        /// The keys so far are lost for good: go on with new ones. Tools whose config they sealed are to be made anew
        #[arg(long)]
        keys_lost: bool,
    },
    /// Remove the data folder and everything in it
    Wipe {
        #[command(flatten)]
        place: Place,
        /// Do it without being asked by name
        #[arg(long)]
        yes: bool,
    },
    /// Run as a git hook; git calls this, people do not
    #[command(hide = true)]
    Hook {
        /// pre-receive or proc-receive
        kind: String,
    },
}

/// What can be done with the rows of a stopped server.
#[derive(Debug, Subcommand)]
enum StoreVerb {
    /// Copy every row of the embedded database into an empty PostgreSQL database, and compare
    Copy {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        target: move_rows::Target,
    },
}

/// Runs the verb that was asked for and turns its end into an exit code.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hythed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Serve { place, roles } => serve::main(&settings::load_for(&place, roles)?)?,
        Verb::Stop { place, all } => control::stop(&settings::load(&place)?, all)?,
        Verb::CheckConfig { place, roles } => return check::main(&place, roles),
        Verb::PrintConfig => print!("{}", hythe_config::TEMPLATE),
        Verb::HostKey(place) => println!("{}", first_run::host_key(&settings::load(&place)?)?),
        Verb::AdminToken(place) => first_run::admin_token(&settings::load(&place)?)?,
        Verb::Backup { place, to, without_rows } => {
            crate::backup::backup(&settings::load(&place)?, &to, without_rows)?;
        }
        Verb::Restore { place, from } => crate::backup::restore(&settings::load(&place)?, &from)?,
        Verb::Store { verb: StoreVerb::Copy { place, target } } => {
            move_rows::copy(&settings::load(&place)?, &target)?;
        }
        Verb::Stack { place, cache } => stack::finish(&settings::load(&place)?, &cache)?,
        Verb::RotateKeys { place, keys_lost } => rotate::main(&settings::load(&place)?, keys_lost)?,
        Verb::Wipe { place, yes } => control::wipe(&settings::load(&place)?, yes)?,
        Verb::Hook { kind } => return Ok(hythe_ssh::hook::main(&kind)),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
