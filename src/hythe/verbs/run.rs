//! `hythe run`.

use crate::attach;
use crate::context::Context;
use crate::failure::Failure;
use clap::Args;
use hythe_api::types::{Attach, Terminal};
use hythe_model::ReleaseNumber;

/// A shell of the image: bash where it has it.
const SHELL: [&str; 3] = ["sh", "-c", "if command -v bash >/dev/null; then exec bash; fi; exec sh"];
/// The kind of a terminal that does not say its own.
const PLAIN: &str = "xterm";

/// Run a command once in a tool's image, with its config
///
/// The command reads this program's standard input, and its output, errors and exit code are this program's own. On a
/// terminal it gets one of its own. Without one Ctrl-C, or SIGTERM, goes to the command first; a second one gives up and
/// ends it, as a lost connection does.
#[derive(Args)]
pub(crate) struct Run {
    /// The release whose image and config are used; by default the live one
    #[arg(long, value_name = "RELEASE")]
    release: Option<ReleaseNumber>,
    /// Open a shell: bash where the image has it, else sh
    #[arg(long)]
    shell: bool,
    /// Give the command a terminal, also where this program is not on one
    #[arg(long, overrides_with = "no_tty")]
    tty: bool,
    /// Give the command no terminal: its output and errors stay apart
    #[arg(long, overrides_with = "tty")]
    no_tty: bool,
    /// A process type alone, or a program and its arguments
    #[arg(
        required_unless_present = "shell",
        conflicts_with = "shell",
        trailing_var_arg = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let wants = self.tty || (!self.no_tty && !context.json && attach::is_ours());
        let args = if self.shell { SHELL.map(str::to_owned).into() } else { self.command };
        let attach = Attach { release: self.release, args, terminal: wants.then(terminal) };
        attach::run(&context.client()?, &tool, attach, context.json).await
    }
}

/// A terminal like this one.
fn terminal() -> Terminal {
    let size = attach::ours().unwrap_or_default();
    let plain = |kind: &String| {
        (1..=64).contains(&kind.len())
            && kind.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
    };
    let kind = std::env::var("TERM").ok().filter(plain).unwrap_or_else(|| PLAIN.to_owned());
    Terminal { kind, rows: size.rows, cols: size.cols }
}
