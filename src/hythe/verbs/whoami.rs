//! `hythe whoami`.

use crate::client::{get, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Table};
use clap::Args;
use hythe_api::types::WhoAmI;

/// Show whose token this is, and the server
#[derive(Args)]
pub(crate) struct Whoami {}

impl Whoami {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let answer = context.client()?.call(get(&["whoami"])).await?;
        if context.json {
            return output::object(&answer);
        }
        let who: WhoAmI = read(answer)?;
        let mut table = Table::new(&[]);
        let admin = if who.admin { " (admin)" } else { "" };
        table.row(["name".into(), format!("{}{admin}", who.actor).into()]);
        table.row(["server".into(), format!("hythed {}", who.server.version).into()]);
        table.row(["program".into(), format!("hythe {}", env!("CARGO_PKG_VERSION")).into()]);
        table.row(["tools at".into(), format!("<tool>.{}", who.server.domain).into()]);
        table.row(["git".into(), format!("{}/<tool>", who.server.git).into()]);
        table.print()
    }
}
