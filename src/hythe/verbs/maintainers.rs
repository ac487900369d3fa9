//! `hythe maintainers`.

use crate::client::{delete, get, put, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Table};
use clap::{Args, Subcommand, ValueEnum};
use hythe_api::types::{Maintainer, NewMaintainer, Role};
use hythe_model::MaintainerName;

/// Who has rights on a tool
#[derive(Args)]
pub(crate) struct Maintainers {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Give somebody rights on the tool, or change them
#[derive(Args)]
struct Add {
    /// Their name
    name: MaintainerName,
    /// What they may do
    #[arg(long, value_enum, default_value = "member")]
    role: RoleArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Everything but deleting the tool and changing its maintainers
    Member,
    /// Everything
    Owner,
}

/// List who has rights on the tool
#[derive(Args)]
struct List {}

/// Take somebody's rights on the tool
#[derive(Args)]
struct Remove {
    /// Their name
    name: MaintainerName,
}

impl Maintainers {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let client = context.client()?;
        let base = ["tools", tool.as_str(), "maintainers"];
        let (answer, told) = match &self.verb {
            Verb::List(_) => (client.call(get(&base)).await?, None),
            Verb::Add(add) => {
                let role = match add.role {
                    RoleArg::Member => Role::Member,
                    RoleArg::Owner => Role::Owner,
                };
                let path = [&base[..], &[add.name.as_str()]].concat();
                let answer = client.call(put(&path).body(&NewMaintainer { role })).await?;
                (answer, Some(format!("{tool}: {} is now {}.", add.name, role.word())))
            }
            Verb::Remove(remove) => {
                let path = [&base[..], &[remove.name.as_str()]].concat();
                let answer = client.call(delete(&path)).await?;
                (answer, Some(format!("{tool}: {} has no rights any more.", remove.name)))
            }
        };
        match told {
            _ if context.json => output::object(&answer),
            Some(told) => output::line(told),
            None => list(read(answer)?),
        }
    }
}

fn list(maintainers: Vec<Maintainer>) -> Result<(), Failure> {
    if maintainers.is_empty() {
        return output::line("No maintainer yet. Add one: hythe maintainers add NAME");
    }
    let mut table = Table::new(&["NAME", "ROLE"]);
    for maintainer in maintainers {
        table.row([String::from(maintainer.name).into(), maintainer.role.word().into()]);
    }
    table.print()
}
