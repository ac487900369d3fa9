//! `hythe scale`.

use super::releases::counts;
use crate::client::post;
use crate::context::Context;
use crate::failure::Failure;
use crate::watch;
use clap::Args;
use hythe_api::types::{Release, Scale as Body};
use hythe_model::{Formation, ProcessType};

/// Change how many instances of a process type run
#[derive(Args)]
pub(crate) struct Scale {
    /// Process types and their counts, as in web=2 worker=0
    #[arg(required = true, value_name = "TYPE=COUNT", value_parser = count)]
    counts: Vec<(ProcessType, u32)>,
}

impl Scale {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let client = context.client()?;
        let path = ["tools", tool.as_str(), "scale"];
        let body = Body { formation: Formation(self.counts.into_iter().collect()) };
        let now_true = |release: Option<&Release>| match release {
            Some(release) => format!("{} runs {}", release.number, counts(&release.formation)),
            None => "kept for the first release".to_owned(),
        };
        watch::until_done(context, &client, post(&path).body(&body), &tool, "scaling", now_true).await
    }
}

fn count(text: &str) -> Result<(ProcessType, u32), String> {
    let (process, count) = text.split_once('=').ok_or("write TYPE=COUNT, as in web=2")?;
    let process = process.parse::<ProcessType>().map_err(|error| error.to_string())?;
    let count = count.parse().map_err(|_| format!("`{count}` is not a count"))?;
    Ok((process, count))
}
