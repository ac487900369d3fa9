//! `hythe restart`.

use crate::client::post;
use crate::context::Context;
use crate::failure::Failure;
use crate::watch;
use clap::Args;
use hythe_api::types::Release;

/// Replace every instance of a tool, without a failed request
#[derive(Args)]
pub(crate) struct Restart {}

impl Restart {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let client = context.client()?;
        let path = ["tools", tool.as_str(), "restart"];
        let now_true = |release: Option<&Release>| match release {
            Some(release) => format!("{} runs the same image and config in new instances", release.number),
            None => "nothing runs".to_owned(),
        };
        watch::until_done(context, &client, post(&path), &tool, "restarting", now_true).await
    }
}
