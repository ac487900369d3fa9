//! `hythe ps`.

use crate::client::{get, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Cell, Table, since};
use clap::Args;
use hythe_api::types::Instance;

/// Show what runs of a tool
#[derive(Args)]
pub(crate) struct Ps {}

impl Ps {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let answer = context.client()?.call(get(&["tools", tool.as_str(), "instances"])).await?;
        if context.json {
            return output::object(&answer);
        }
        let instances: Vec<Instance> = read(answer)?;
        if instances.is_empty() {
            return output::line(format!(
                "Nothing of {tool} runs. Deploy it: git push hythe main, or hythe scale web=1"
            ));
        }
        let mut table = Table::new(&["INSTANCE", "RELEASE", "STATE", "SINCE", "RESTARTS"]);
        for instance in instances {
            table.row([
                format!("{}.{}", instance.process, instance.place).into(),
                instance.release.to_string().into(),
                Cell::state(instance.state.word()),
                since(instance.since).into(),
                instance.restarts.to_string().into(),
                remark(&instance).into(),
            ]);
        }
        table.print()
    }
}

/// What there is to say of it beside its state.
fn remark(instance: &Instance) -> String {
    let canary = instance.canary.then_some("canary");
    canary.into_iter().chain(instance.last_exit.as_deref()).collect::<Vec<_>>().join(", ")
}
