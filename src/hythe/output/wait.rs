//! What a waiting verb shows on a terminal, and nothing anywhere else.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A line that moves while something is waited for. It goes when this is dropped.
pub(crate) struct Wait(ProgressBar);

impl Wait {
    /// Shows what is waited for, on standard error where that is a terminal.
    pub(crate) fn new(what: String, json: bool) -> Self {
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style.tick_chars("|/-\\ "));
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
