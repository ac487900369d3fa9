//! The command line: flags that every verb knows, the run, and how it ends.

use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::verbs::Verb;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser};
use hythe_model::{Fault, ToolName};
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    tried, and it did not work
  2    the command line says nothing that can be done
  3    there is no such thing, or it is not for this token
  4    the server cannot be reached
  5    not logged in, or the token does not count any more
  130  interrupted
  141  the reader of the output has gone
`hythe run` ends with the exit code of the process that it runs.

Environment:
  HYTHE_URL, HYTHE_TOKEN  the server and the token, instead of those of `hythe login`
  HYTHE_TOOL              the tool, instead of that of the git remote `hythe`
  HYTHE_CONFIG_DIR        where `hythe login` keeps them, by default ~/.config/hythe
  NO_COLOR                no colours on terminals either";

/// Push-to-deploy: `git push hythe main`, and these verbs for everything else.
#[derive(Parser)]
#[command(name = "hythe", version, after_help = EXIT_CODES, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args)]
struct Globals {
    /// The tool; by default the one that the git remote `hythe` of this folder names
    #[arg(long, short, global = true, value_name = "NAME", help_heading = "On every command")]
    tool: Option<ToolName>,
    /// Print the API's own objects as JSON
    #[arg(long, global = true, help_heading = "On every command")]
    json: bool,
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    // Two TLS providers in one program would panic at first use: this one is chosen before anything else.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (json, ended) = match parse() {
        Ok(cli) => (cli.globals.json, run(cli)),
        Err(failure) => (false, Err(failure)),
    };
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    if let Failure::Fault(_, fault) = &failure {
        output::fault(fault, json);
    }
    ExitCode::from(failure.code())
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = Context { json: cli.globals.json, tool: cli.globals.tool };
    let ended = runtime.block_on(cli.verb.run(&context));
    // A thread may be reading standard input for ever.
    runtime.shutdown_background();
    ended
}

fn parse() -> Result<Cli, Failure> {
    Cli::try_parse().map_err(|error| {
        if error.kind() == ErrorKind::InvalidSubcommand {
            return unknown_verb(&error);
        }
        let told = error.print();
        let code = if error.use_stderr() { Code::Usage as u8 } else { 0 };
        told.map_or_else(Failure::from, |()| Failure::Exit(code))
    })
}

/// `hythe restrat` -> there is no such command; did you mean `restart`?
fn unknown_verb(error: &clap::Error) -> Failure {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return Failure::usage("verb", "There is no such command.");
    };
    // `hythe tools lsit`: the words before the unknown one, as far as they name a group of verbs.
    let command = Cli::command();
    let mut group = &command;
    let mut path = String::new();
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    for word in words.take_while(|word| word != typed) {
        if let Some(inner) = group.find_subcommand(&word) {
            path.extend([inner.get_name(), " "]);
            group = inner;
        }
    }
    let mut fault = Fault::new("usage/verb", format!("there is no command `{path}{typed}`"));
    match nearest(typed, group.get_subcommands().map(clap::Command::get_name)) {
        Some(verb) => fault.what.extend(["; did you mean `", &path, verb, "`?"]),
        None => fault = fault.next(format!("hythe {path}--help lists them.")),
    }
    Failure::Fault(Code::Usage, fault)
}

fn nearest<'a>(typed: &str, verbs: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = verbs.map(|verb| (strsim::damerau_levenshtein(typed, verb), verb));
    scored.filter(|(distance, verb)| *distance <= verb.len().max(typed.len()) / 2).min().map(|(_, verb)| verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn slips_of_the_finger_are_understood() {
        let verbs = || ["restart", "releases", "redeploy", "run"].into_iter();
        assert_eq!(nearest("restrat", verbs()), Some("restart"));
        assert_eq!(nearest("release", verbs()), Some("releases"));
        assert_eq!(nearest("frobnicate", verbs()), None);
    }
}
