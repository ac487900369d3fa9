//! `hythed check-config`: the configuration and the machine, line by line.

use crate::cli::Place;
use crate::control;
use crate::folders::Data;
use crate::roles::Roles;
use crate::settings::{self, Settings};
use anyhow::Result;
use hythe_registry::{Finding, Verdict, check_external};
use hythe_sandbox::capability::{Capability, CapabilityState, probe};
use std::process::ExitCode;

/// Prints every capability as pass, warning or failure with its mend; fails where one fails.
pub(crate) fn main(place: &Place, roles: Roles) -> Result<ExitCode> {
    let settings = settings::load_for(place, roles)?;
    println!("pass     configuration        read without a mistake");
    let data: Data = settings.data()?;
    println!("pass     data folder          {}", data.root().display());
    println!("pass     roles                {}", settings.roles);
    if let Some(objects) = data.objects() {
        hythe_objects::SharedFolder::open(&objects)?;
        println!("pass     shared objects       {}", objects.display());
    }
    let mut found = registry(&settings)?;
    found.extend(probe(&control::helper_options(&settings, &data)?));
    for line in found.iter().flat_map(lines) {
        println!("{line}");
    }
    let failed = found.iter().any(|capability| capability.state == CapabilityState::Failure);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What may be done in the external registry, where there is one.
fn registry(settings: &Settings) -> Result<Vec<Capability>> {
    let Some(options) = settings.external()? else { return Ok(Vec::new()) };
    let pull = settings.external_pull(&options.prefix)?;
    let found = control::runtime()?.block_on(check_external(&options, pull.as_ref()))?;
    let capability = |Finding { verdict, detail, mend }| Capability {
        name: "external registry".into(),
        state: match verdict {
            Verdict::Pass => CapabilityState::Pass,
            Verdict::Warning => CapabilityState::Warning,
            Verdict::Failure => CapabilityState::Failure,
        },
        detail,
        mend,
    };
    Ok(found.into_iter().map(capability).collect())
}

fn lines(capability: &Capability) -> Vec<String> {
    let word = match capability.state {
        CapabilityState::Pass => "pass",
        CapabilityState::Warning => "warning",
        CapabilityState::Failure => "failure",
    };
    let head = format!("{word:<9}{:<20} {}", capability.name, capability.detail);
    let mend = capability.mend.iter().map(|mend| format!("{:30}{mend}", ""));
    [head].into_iter().chain(mend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mend_stands_under_what_it_mends() {
        let capability = Capability {
            name: "tun".into(),
            state: CapabilityState::Warning,
            detail: "/dev/net/tun is closed to this user".into(),
            mend: Some("chmod 0666 /dev/net/tun".into()),
        };
        assert_eq!(
            lines(&capability),
            [
                "warning  tun                  /dev/net/tun is closed to this user",
                "                              chmod 0666 /dev/net/tun",
            ]
        );
    }
}
