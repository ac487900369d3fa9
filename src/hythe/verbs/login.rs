//! `hythe login`.

use crate::client::{Client, get, read};
use crate::confirm;
use crate::context::Context;
use crate::failure::Failure;
use crate::input;
use crate::output;
use crate::settings::{self, Settings};
use clap::Args;
use hythe_api::types::WhoAmI;
use std::fs;
use std::path::PathBuf;

/// Save a server and a token for it
///
/// The token is tried, then kept in ~/.config/hythe/config.toml, readable by you only. Give it by standard input
/// (`--token -`) rather than as an argument, which other users of this machine can see while the command runs.
#[derive(Args)]
pub(crate) struct Login {
    /// The server, as in `https://hythe.example.org`
    url: String,
    /// The token; `-` reads it from standard input. Without this flag `HYTHE_TOKEN` counts, else it is asked for
    #[arg(long, value_name = "TOKEN|-", allow_hyphen_values = true)]
    token: Option<String>,
    /// Trust the certificates of this PEM file, and no others, for this server
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Let the token travel over plain HTTP to another machine
    #[arg(long)]
    plain_http: bool,
}

impl Login {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let token = self.token()?;
        let ca = self.ca.as_deref().map(read_ca).transpose()?;
        let settings =
            Settings { url: settings::parse_url(&self.url)?, token, ca, plain_http: self.plain_http };
        settings.check()?;
        let client = Client::new(settings.clone())?;
        let answer = client.call(get(&["whoami"])).await?;
        let who: WhoAmI = read(answer.clone())?;
        settings.save()?;
        if context.json {
            return output::object(&answer);
        }
        output::line(format!("Logged in to {} as {}.", settings.url, output::clean(&who.actor.to_string())))
    }

    fn token(&self) -> Result<String, Failure> {
        let text = match self.token.as_deref() {
            Some("-") => input::text()?,
            Some(token) => token.to_owned(),
            None => match std::env::var("HYTHE_TOKEN") {
                Ok(token) if !token.is_empty() => token,
                _ => confirm::secret("Token")?,
            },
        };
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage("token", "That is no token: one word is wanted.").next(
                "An admin's first token is printed by the server's first start; more: hythe tokens create",
            ));
        }
        Ok(token.to_owned())
    }
}

fn read_ca(path: &std::path::Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::local("ca", format!("{} cannot be read.", path.display())).why(error.to_string())
    })?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(Failure::local("ca", format!("{} holds no certificate in PEM.", path.display())));
    }
    Ok(text)
}
