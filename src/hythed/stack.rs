//! The stack: that of a running server, and finished layers for servers that can make none.

use crate::control;
use crate::folders::{Data, Installation};
use crate::settings::{Settings, plain, refuse_root};
use anyhow::{Context as _, Result};
use hythe_registry::ContentStore;
use hythe_stacks::{Egress, Mirrors, StackImages, StackOptions};
use std::path::{Path, PathBuf};

/// The images of the stack, made where they are not there yet, which takes a while at a first run.
pub(crate) async fn ensure(settings: &Settings, data: &Data, content: &ContentStore) -> Result<StackImages> {
    let options = StackOptions {
        definition: definition(settings)?,
        work: data.work(),
        cache: settings.config.stacks.cache_dir.clone(),
        mirrors: mirrors(settings),
    };
    let tell = |line: &str| println!("stack     {line}");
    let images = hythe_stacks::ensure_through(content, &options, &egress(settings), &tell).await;
    images.with_context(|| cannot(settings))
}

/// Fills a cache with the finished layers of the stack, and prints the folder that they are in.
pub(crate) fn finish(settings: &Settings, cache: &Path) -> Result<()> {
    refuse_root()?;
    let cache = std::path::absolute(cache)?;
    let tell = |line: &str| eprintln!("{line}");
    let (definition, mirrors, egress) = (definition(settings)?, mirrors(settings), egress(settings));
    let finish = hythe_stacks::finish(&definition, &cache, &mirrors, &egress, &tell);
    let folder = control::runtime()?.block_on(finish).with_context(|| cannot(settings))?;
    println!("{}", folder.display());
    Ok(())
}

fn cannot(settings: &Settings) -> String {
    format!("the stack {} cannot be made", settings.config.stacks.default)
}

fn definition(settings: &Settings) -> Result<PathBuf> {
    Ok(Installation::find()?.stack(&settings.config.stacks.default))
}

fn mirrors(settings: &Settings) -> Mirrors {
    let (chosen, usual) = (&settings.config.egress.mirrors, Mirrors::default());
    Mirrors {
        debian: chosen.debian.clone().unwrap_or(usual.debian),
        debian_security: chosen.debian_security.clone().unwrap_or(usual.debian_security),
        npm: chosen.npm.clone().unwrap_or(usual.npm),
    }
}

fn egress(settings: &Settings) -> Egress {
    let chosen = &settings.config.egress;
    Egress {
        http_proxy: plain(chosen.http_proxy.as_ref()),
        https_proxy: plain(chosen.https_proxy.as_ref()),
        no_proxy: chosen.no_proxy.clone(),
        ca_bundle: chosen.ca_bundle(),
    }
}
