//! Builds wait, run and are resumed here.

pub(crate) struct Running;
