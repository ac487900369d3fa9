//! From the state of a tool's instances to its route.

use super::group::{Group, Stage};
use hythe_model::Route;
use std::sync::Arc;

/// Where the traffic of a tool goes that has this live group and these candidates.
pub(crate) fn route(live: Option<&Group>, coming: &[Arc<Group>]) -> Route {
    let Some(group) = live else {
        return if coming.is_empty() { Route::Empty } else { Route::Starting };
    };
    let mut upstreams = group.upstreams();
    upstreams.extend(coming.iter().filter(|group| group.shares()).flat_map(|group| group.upstreams()));
    if !upstreams.is_empty() {
        return Route::Live { release: group.number(), upstreams };
    }
    let views: Vec<_> =
        group.slots.iter().map(|slot| slot.view()).filter(|view| view.id.process.is_web()).collect();
    if views.is_empty() {
        return Route::Empty;
    }
    let last = views.iter().filter_map(|view| view.last_exit.as_ref()).next_back();
    match last {
        Some(exit) => Route::Crashed { reason: exit.text() },
        None if views.iter().all(|view| matches!(view.stage, Stage::Stopping | Stage::Gone)) => Route::Empty,
        None => Route::Starting,
    }
}
