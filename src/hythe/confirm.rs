//! Asking before something that cannot be undone.

use crate::failure::{Code, Failure};
use crate::input;
use std::io::{self, BufRead, IsTerminal, Write};

/// Asks for the thing's name on a terminal; without one `--yes` is needed.
pub(crate) fn by_name(yes: bool, warning: &str, name: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("not-confirmed", "Nothing was changed: there is no terminal to ask on.")
            .why(warning)
            .next("To do it without a question, add --yes"));
    }
    let mut screen = io::stderr();
    writeln!(screen, "{warning}")?;
    write!(screen, "Type {name} to do it: ")?;
    screen.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| input::unread(&error))?;
    if answer.trim() == name {
        return Ok(());
    }
    writeln!(screen, "Nothing was changed.")?;
    Err(Failure::Told(Code::Failed))
}

/// Reads a line without showing it, on a terminal; from a pipe it reads all there is.
pub(crate) fn secret(prompt: &str) -> Result<String, Failure> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return input::text();
    }
    write!(io::stderr(), "{prompt}: ")?;
    let before = tcgetattr(&stdin).map_err(io::Error::from)?;
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden).map_err(io::Error::from)?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &before).map_err(io::Error::from)?;
    writeln!(io::stderr())?;
    read.map_err(|error| input::unread(&error))?;
    Ok(line)
}
