//! What somebody who is attached to a process tells it besides its input.

use serde::{Deserialize, Serialize};

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub cols: u16,
}

impl Default for TerminalSize {
    /// The size of terminals that do not tell theirs.
    fn default() -> Self {
        Self { rows: 24, cols: 80 }
    }
}

/// A signal that asks a process to end. The other ones cannot be sent from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Its terminal has gone.
    Hup,
    /// Ctrl-C.
    Int,
    /// Ctrl-\.
    Quit,
    /// It is to end.
    Term,
}

impl Signal {
    /// Its number on Linux, the same on every machine.
    pub fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Term => 15,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_written_as_a_shell_writes_them() {
        let all = [Signal::Hup, Signal::Int, Signal::Quit, Signal::Term];
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["HUP","INT","QUIT","TERM"]"#);
        assert!(serde_json::from_str::<Signal>(r#""KILL""#).is_err());
    }
}
