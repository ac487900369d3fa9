//! Tries what sandboxes need, for [`crate::capability::probe`].
//!
//! Enter at [`run`]. The namespaces exist by then, which is the first thing to know; the rest is tried for real and
//! told as one line of JSON. Nothing is left behind.

use super::cgroup::Cgroups;
use super::enter::Ready;
use super::network::Wire;
use super::options::Options;
use super::overlay::{self, Durability};
use super::refusal::Refusal;
use super::serve::make_state;
use super::state::State;
use crate::capability::Trial;
use crate::{Egress, RelPath};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tries and tells.
pub(super) fn run(options: &Options, ready: Ready) -> Result<(), (Ready, String)> {
    // Without cgroups there is still everything else to look at.
    let state = match make_state(Options { require_cgroups: false, ..options.clone() }) {
        Ok(state) => state,
        Err(why) => return Err((ready, why)),
    };
    let why = match &state.cgroups {
        Cgroups::None => Cgroups::find(&options.cgroup, "probe").1,
        _ => None,
    };
    let trial = Trial {
        overlay: try_overlay(&state).err().map(|refusal| refusal.message),
        runc: try_runc(&state).err().map(|refusal| refusal.message),
        network: try_network(&state).err().map(|refusal| refusal.message),
        cgroups: why.map_or_else(|| Ok(state.cgroups.version().to_owned()), Err),
    };
    state.cgroups.leave();
    let json = serde_json::to_string(&trial).unwrap_or_default();
    ready.well(&json);
    Ok(())
}

fn try_overlay(state: &State) -> Result<(), Refusal> {
    let path = |name: &str| {
        RelPath::new(format!("probe/{name}")).map_err(|error| Refusal::invalid(error.to_string()))
    };
    state.root.make_dirs(&path("lower")?)?;
    let target = overlay::target(&state.root, &path("merged")?)?;
    let mounted =
        overlay::mount(&state.root, &[path("lower")?], &path("upper")?, &target, Durability::Ephemeral);
    if mounted.is_ok() {
        overlay::unmount(&target)?;
    }
    RelPath::new("probe").map(|probe| super::files::remove(&state.root, &probe)).ok();
    mounted
}

fn try_runc(state: &State) -> Result<(), Refusal> {
    let mut command = Command::new(&state.options.runc);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    state.reaper.run_to_end(&mut command, Duration::from_secs(10)).map(drop)
}

/// A guarded network as a sandbox gets it: namespace, packet filter, pasta.
fn try_network(state: &State) -> Result<(), Refusal> {
    let egress = Egress { enabled: true, ..Egress::default() };
    let wire = Wire::make(state, &egress)?;
    wire.close(&state.reaper);
    Ok(())
}
