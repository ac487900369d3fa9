//! Signals to this program while a command is attached.

use hythe_model::Signal;
use std::io;
use tokio::signal::unix::{self, SignalKind};

/// What a signal says.
#[derive(Clone, Copy)]
pub(super) enum Woken {
    /// This is to end.
    Ending(Signal),
    /// The terminal has another size.
    Resized,
}

/// Signals that are listened to; without that they would end this program at once.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    window: Option<unix::Signal>,
}

impl Signals {
    /// Listens; to sizes too where the command is on a terminal.
    pub(super) fn listen(on_terminal: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            window: on_terminal.then(|| unix::signal(SignalKind::window_change())).transpose()?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Woken {
        let window = async {
            match &mut self.window {
                Some(window) => window.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Woken::Ending(Signal::Int),
            _ = self.terminate.recv() => Woken::Ending(Signal::Term),
            _ = self.hang_up.recv() => Woken::Ending(Signal::Hup),
            _ = window => Woken::Resized,
        }
    }

    /// The next one that is to end this.
    pub(super) async fn ending(&mut self) -> Signal {
        loop {
            if let Woken::Ending(signal) = self.next().await {
                return signal;
            }
        }
    }
}
