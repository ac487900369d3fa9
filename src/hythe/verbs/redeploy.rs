//! `hythe redeploy`.

use crate::client::{post, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::{output, watch};
use clap::Args;
use hythe_api::types::{Build, Redeploy as Body};

/// Build the live commit again and release it; shows the log as a push does
#[derive(Args)]
pub(crate) struct Redeploy {
    /// Without the layers of earlier builds
    #[arg(long)]
    no_cache: bool,
    /// Return once the build is durably queued
    #[arg(long)]
    detach: bool,
}

impl Redeploy {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let client = context.client()?;
        let path = ["tools", tool.as_str(), "redeploy"];
        let answer = client.call(post(&path).body(&Body { no_cache: self.no_cache })).await?;
        let build: Build = read(answer.clone())?;
        match (self.detach, context.json) {
            (false, _) => watch::build(context, &client, &build, true).await,
            (true, true) => output::object(&answer),
            (true, false) => output::line(format!(
                "{tool}: build {0} is queued. Watch it: hythe builds attach {0}",
                build.id
            )),
        }
    }
}
