//! One build from its row to a live release.
