//! `hythed check-config`: the configuration and what the server stands on, line by line.

use crate::cli::Place;
use crate::control;
use crate::folders::Data;
use crate::roles::Roles;
use crate::settings::{self, Settings};
use anyhow::Result;
use hythe_cluster::Cluster;
use hythe_model::{Finding, Verdict};
use hythe_registry::check_external;
use hythe_sandbox::capability::{machine, probe};
use hythe_store::{Store, StoreOptions};
use std::process::ExitCode;
use std::time::Duration;

/// How long the database is waited for: long enough for one that is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints every finding as pass, warning or failure with its mend; fails where one fails.
pub(crate) fn main(place: &Place, roles: Roles) -> Result<ExitCode> {
    let settings = settings::load_for(place, roles)?;
    let mut is_well = show(&[Finding::pass("configuration", "read without a mistake")]);
    let data: Data = settings.data()?;
    is_well &= show(&here(&settings, &data)?);
    is_well &= show(&control::runtime()?.block_on(elsewhere(&settings, &data))?);
    if settings.config.needs_sandboxes() {
        is_well &= show(&probe(&control::helper_options(&settings, &data)?));
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The machine and its folders.
fn here(settings: &Settings, data: &Data) -> Result<Vec<Finding>> {
    let mut found = vec![
        Finding::pass("data folder", data.root().display().to_string()),
        Finding::pass("roles", settings.roles.to_string()),
    ];
    if let Some(objects) = data.objects() {
        hythe_objects::SharedFolder::open(&objects)?;
        found.push(Finding::pass("shared objects", objects.display().to_string()));
    }
    found.extend(machine(data.root()));
    Ok(found)
}

/// What is reached by the network: the database, the cluster, the external registry.
async fn elsewhere(settings: &Settings, data: &Data) -> Result<Vec<Finding>> {
    let options = settings.store_options();
    let options = StoreOptions { patience: options.patience.min(PATIENCE), ..options };
    let mut found = vec![Store::check(&settings.database(data)?, options).await];
    if settings.config.needs_cluster() {
        let chosen = &settings.config.kubernetes;
        let account = settings.account()?;
        found.extend(match Cluster::connect(chosen.kubeconfig.as_deref(), &chosen.platform).await {
            Ok(cluster) => cluster.check(account.as_ref(), &chosen.build_namespace()).await,
            Err(fault) => vec![Finding::failure("cluster", fault)],
        });
    }
    if let Some(options) = settings.external()? {
        let pull = settings.external_pull(&options.prefix)?;
        found.extend(check_external(&options, pull.as_ref()).await?);
    }
    Ok(found)
}

/// Prints these; whether none of them is a failure.
fn show(found: &[Finding]) -> bool {
    for line in found.iter().flat_map(lines) {
        println!("{line}");
    }
    found.iter().all(|finding| finding.verdict != Verdict::Failure)
}

fn lines(finding: &Finding) -> Vec<String> {
    let word = match finding.verdict {
        Verdict::Pass => "pass",
        Verdict::Warning => "warning",
        Verdict::Failure => "failure",
    };
    let head = format!("{word:<9}{:<20} {}", finding.about, finding.detail);
    let mend = finding.mend.iter().map(|mend| format!("{:30}{mend}", ""));
    [head].into_iter().chain(mend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mend_stands_under_what_it_mends() {
        let closed = "/dev/net/tun is closed to this user";
        let finding = Finding::lacking("tun", Verdict::Warning, closed, "chmod 0666 /dev/net/tun");
        assert_eq!(
            lines(&finding),
            [
                "warning  tun                  /dev/net/tun is closed to this user",
                "                              chmod 0666 /dev/net/tun",
            ]
        );
    }
}
