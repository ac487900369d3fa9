//! This machine's terminal: its size, and raw mode, which is always left again.

use hythe_model::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal};
use std::sync::{Mutex, Once, PoisonError};

/// How the terminal was; while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether somebody sits at both ends: input and output are a terminal.
pub(crate) fn is_ours() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The terminal's size, where there is one.
pub(crate) fn ours() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(TerminalSize { rows: size.ws_row, cols: size.ws_col })
}

/// A terminal whose keys go to the command as they are. Dropping it puts the terminal back; so does a panic, before it is told.
pub(super) struct Raw;

impl Raw {
    /// Where input is a terminal, makes it raw.
    pub(super) fn enter() -> io::Result<Option<Self>> {
        static HOOK: Once = Once::new();
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        HOOK.call_once(|| {
            let tell = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                put_back();
                tell(panic);
            }));
        });
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Some(Self))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        put_back();
    }
}

fn put_back() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}
