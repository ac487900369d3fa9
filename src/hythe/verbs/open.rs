//! `hythe open`.

use crate::client::{get, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use clap::Args;
use hythe_api::types::Tool;
use std::env;
use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

/// Print a tool's URL and open it in a browser where there is one
#[derive(Args)]
pub(crate) struct Open {}

impl Open {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let answer = context.client()?.call(get(&["tools", tool.as_str()])).await?;
        if context.json {
            return output::object(&answer);
        }
        let tool: Tool = read(answer)?;
        output::line(output::clean(&tool.url))?;
        if io::stdout().is_terminal() && is_web(&tool.url) {
            browse(&tool.url);
        }
        Ok(())
    }
}

/// Whether a browser is the right program for it: a server could name any file or scheme.
fn is_web(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// Starts a browser if there is a screen for one; the URL is printed either way, so a failure needs no words.
fn browse(url: &str) {
    let screen =
        ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| env::var_os(name).is_some_and(|v| !v.is_empty()));
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if screen || cfg!(target_os = "macos") {
        let _ = Command::new(program)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
    }
}
