//! Adds tools with a live release each to the data of a server that does not run: seed DATA FIRST LAST INSTANCES

#[path = "../support/seed.rs"]
mod seed;

use anyhow::{Context, Result};
use std::path::Path;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, first, last, instances] = args.as_slice() else {
        anyhow::bail!("usage: seed DATA FIRST LAST INSTANCES");
    };
    let number = |text: &String| text.parse::<u32>().with_context(|| format!("`{text}` is not a number"));
    let names = (number(first)?..=number(last)?).map(|number| format!("tool-{number:05}").parse());
    seed::seed(Path::new(data), &names.collect::<Result<Vec<_>, _>>()?, number(instances)?).await
}
