//! `hythe rollback`.

use crate::client::post;
use crate::context::Context;
use crate::failure::Failure;
use crate::watch;
use clap::Args;
use hythe_api::types::{Release, Rollback as Body};
use hythe_model::ReleaseNumber;

/// Release the image, config and counts of an earlier release again; nothing is built
#[derive(Args)]
pub(crate) struct Rollback {
    /// The release to go back to, as in v13
    release: ReleaseNumber,
}

impl Rollback {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let client = context.client()?;
        let to = self.release;
        let path = ["tools", tool.as_str(), "rollback"];
        let request = post(&path).body(&Body { to });
        let now_true = |release: Option<&Release>| match release {
            Some(release) => {
                format!("{} = {to} (image {}, config of {to})", release.number, release.commit.short())
            }
            None => format!("{to} is kept for the first release"),
        };
        watch::until_done(context, &client, request, &tool, &format!("rolling back to {to}"), now_true).await
    }
}
