//! `hythe run`.

use crate::client::{post, read, unexpected};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hythe_api::types::{Run as Body, RunLine};
use hythe_model::ReleaseNumber;
use std::io;

/// Run a command once in a tool's image, with its config
///
/// The command sees no standard input. Ctrl-C or a lost connection ends it. The exit code is the command's own.
#[derive(Args)]
pub(crate) struct Run {
    /// The release whose image and config are used; by default the live one
    #[arg(long, value_name = "RELEASE")]
    release: Option<ReleaseNumber>,
    /// A process type alone, or a program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let path = ["tools", tool.as_str(), "run"];
        let body = Body { release: self.release, args: self.command };
        let mut lines = context.client()?.lines(post(&path).body(&body)).await?;
        while let Some(value) = lines.next().await? {
            if context.json {
                output::object_line(&value)?;
            }
            match read(value)? {
                RunLine::Stdout { data } if !context.json => output::bytes(io::stdout(), &decoded(&data)?)?,
                RunLine::Stderr { data } if !context.json => output::bytes(io::stderr(), &decoded(&data)?)?,
                RunLine::Stdout { .. } | RunLine::Stderr { .. } => {}
                RunLine::Exit { code: 0 } => return Ok(()),
                RunLine::Exit { code } => return Err(Failure::Exit(u8::try_from(code).unwrap_or(1))),
                RunLine::Failed { fault } => return Err(Failure::Fault(Code::Failed, fault)),
            }
        }
        Err(Failure::local("no-end", "The output ended before the command did."))
    }
}

fn decoded(data: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(data).map_err(|error| unexpected(&error))
}
