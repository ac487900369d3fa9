//! One rollout of a tool at a time.

pub(crate) struct Turns;
