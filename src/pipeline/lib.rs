//! The story: from a push to a route, and the side doors that join it.
//!
//! [`Platform`] is what every front talks to. [`Platform::push`] is the corridor's entrance; `deploy` and
//! `release` hold its phases; `queue` runs builds durably, fairly and resumably. Stages do the work; this room
//! orders it and writes each step down before it begins. It never speaks a protocol.

mod cancel;
mod config;
mod copies;
mod deploy;
mod faults;
mod images;
mod jobs;
mod lead;
mod log;
mod masks;
mod parts;
mod push;
mod queue;
mod release;
mod replica;
mod run;
mod settings;
#[cfg(test)]
mod tests;
mod tools;
mod turns;
mod upkeep;

pub use config::{ConfigChange, ConfigEntry};
pub use parts::{Parts, Settings};
pub use push::{PushOutcome, Screen};
pub use run::RunOnce;
pub use settings::AllowedMount;
pub use upkeep::Keep;

use std::sync::Arc;

/// The platform behind its fronts. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    /// What this program is called in its claims; another one after a restart.
    holder: Arc<str>,
    /// This server among others; none where it is the only one.
    replica: Option<Arc<replica::Replica>>,
    /// Which tools' repositories are being brought up to date here.
    copying: copies::Copying,
    turns: turns::Turns,
    running: Arc<queue::Running>,
    noted: images::Noted,
    /// Held while a masker is made.
    masking: tokio::sync::Mutex<()>,
}
