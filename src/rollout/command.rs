//! What runs once before a release takes traffic: what is started, what is heard of it, and how it fails.

use crate::local::without_controls;
use crate::one_off::OneOff;
use crate::runtime::{Notes, RunnableRelease};
use crate::status::ExitReason;
use hythe_model::project::{CommandLine, ReleaseCommand};
use hythe_model::render::duration;
use hythe_model::{BuildEvent, Fault, Phase, Process};
use std::collections::VecDeque;
use std::time::Duration;

/// Lines that a failure shows.
const LAST: usize = 20;
/// Where a line is cut, in bytes.
const CUT: usize = 16 << 10;

/// The words of a one-off process that runs a command: a process type alone is itself, any other text is a shell's.
pub(crate) fn words(command: &CommandLine, processes: &[Process]) -> Vec<String> {
    match command {
        CommandLine::Text(text) if processes.iter().any(|process| process.kind.as_str() == text.trim()) => {
            vec![text.trim().to_owned()]
        }
        CommandLine::Text(text) => ["sh", "-c", text].map(str::to_owned).into(),
        CommandLine::Words(words) => words.clone(),
    }
}

/// The release's command as a one-off process.
pub(crate) fn one_off(release: &RunnableRelease, command: &ReleaseCommand) -> OneOff {
    let args = words(&command.command, &release.release.processes);
    OneOff { release: release.clone(), args, terminal: None }
}

/// Tells what a command prints, line by line, and keeps the last lines.
pub(crate) struct Heard<'a, 'n> {
    notes: &'a Notes<'n>,
    last: VecDeque<String>,
    /// What has come of the lines of standard output and standard error.
    open: [Vec<u8>; 2],
}

impl<'a, 'n> Heard<'a, 'n> {
    /// Nothing yet; says what is run.
    pub(crate) fn new(command: &ReleaseCommand, notes: &'a Notes<'n>) -> Self {
        let heard = Self { notes, last: VecDeque::new(), open: [Vec::new(), Vec::new()] };
        heard.note(&format!("runs {}", shown(&command.command)), None);
        heard
    }

    /// Bytes as they came.
    pub(crate) fn bytes(&mut self, bytes: &[u8], error: bool) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = &mut self.open[usize::from(error)];
            open.extend_from_slice(piece);
            if open.ends_with(b"\n") || open.len() >= CUT {
                let whole = std::mem::take(open);
                self.line(whole.strip_suffix(b"\n").unwrap_or(&whole));
            }
        }
    }

    /// A line, without its end.
    pub(crate) fn line(&mut self, line: &[u8]) {
        let line = without_controls(&String::from_utf8_lossy(line));
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        (self.notes)(BuildEvent::Output { phase: Phase::Release, line });
    }

    fn note(&self, text: &str, took: Option<Duration>) {
        let millis = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        (self.notes)(BuildEvent::Note { phase: Phase::Release, text: text.to_owned(), millis });
    }

    /// The command has ended like this after this time; `None`: its time was over.
    pub(crate) fn judge(
        mut self,
        release: &RunnableRelease,
        command: &ReleaseCommand,
        exit: Option<&ExitReason>,
        took: Duration,
    ) -> Result<(), Fault> {
        for open in std::mem::take(&mut self.open).into_iter().filter(|open| !open.is_empty()) {
            self.line(&open);
        }
        let fault = match exit {
            Some(ExitReason { code: Some(0), .. }) => {
                self.note("the release command has ended well", Some(took));
                return Ok(());
            }
            Some(exit) => {
                let after = duration(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                Fault::new("rollout/release-command", "The release failed: its release command fails.")
                    .why(format!("It ended after {after}: {}.", exit.text()))
            }
            None => {
                let what = format!(
                    "The release failed: its release command does not end within {}.",
                    command.timeout
                );
                Fault::new("rollout/release-command-time", what)
                    .next("Make it quicker, or give it more time: timeout of [hythe.release] in project.toml")
            }
        };
        Err(self.detailed(fault, release, command))
    }

    fn detailed(&self, fault: Fault, release: &RunnableRelease, command: &ReleaseCommand) -> Fault {
        let (tool, number) = (&release.release.tool, release.release.number);
        let fault = fault.why(format!("It was: {}", shown(&command.command)));
        let fault = if self.last.is_empty() {
            fault.why("It printed nothing.")
        } else {
            fault.why("It printed last:").why_lines(self.last.iter().map(|line| format!("  {line}")))
        };
        fault.next(format!("Try it: hythe run --tool {tool} --release {number} -- sh"))
    }
}

/// A command on one line.
fn shown(command: &CommandLine) -> String {
    let text = without_controls(&command.to_string().replace('\n', " "));
    if text.chars().count() <= 100 { text } else { text.chars().take(97).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::testing;
    use hythe_model::units::Span;
    use std::sync::Mutex;

    fn command(text: &str) -> ReleaseCommand {
        ReleaseCommand { command: CommandLine::Text(text.to_owned()), timeout: Span::seconds(600) }
    }

    #[test]
    fn a_text_is_a_process_type_or_a_shells() {
        let release = testing::release("weather", 1, "web=1");
        let words = |command: &CommandLine| words(command, &release.release.processes);
        assert_eq!(words(&CommandLine::Text(" worker ".into())), ["worker"]);
        assert_eq!(words(&CommandLine::Text("make -C x && y".into())), ["sh", "-c", "make -C x && y"]);
        assert_eq!(words(&CommandLine::Words(vec!["make".into(), "a b".into()])), ["make", "a b"]);
    }

    #[test]
    fn what_is_heard_is_told_in_lines_and_a_failure_shows_the_last() {
        let release = testing::release("weather", 14, "web=1");
        let told = Mutex::new(String::new());
        let mut renderer = hythe_model::render::Renderer::new();
        let events = Mutex::new(Vec::new());
        let notes = |event: BuildEvent| events.lock().unwrap().push(event);
        let mut heard = Heard::new(&command("python manage.py migrate"), &notes);
        heard.bytes(b"Applying 0001_ini", false);
        heard.bytes(b"warning: \x1b[31mslow\x1b[0m\n", true);
        heard.bytes(b"tial... OK\nApplying 0002_wind...", false);
        let exit = ExitReason { code: Some(3), ..ExitReason::default() };
        let ended = heard.judge(
            &release,
            &command("python manage.py migrate"),
            Some(&exit),
            Duration::from_millis(1500),
        );
        for event in events.lock().unwrap().drain(..) {
            told.lock().unwrap().push_str(&(renderer.render(&event).join("\n") + "\n"));
        }
        let fault = hythe_model::render::fault_lines(&ended.unwrap_err()).join("\n");
        insta::assert_snapshot!(format!("{}{fault}", told.into_inner().unwrap()));
    }

    #[test]
    fn a_command_that_does_not_end_has_words_of_its_own() {
        let release = testing::release("weather", 14, "web=1");
        let heard = Heard::new(&command("sleep 1000"), &|_| {});
        let fault = heard.judge(&release, &command("sleep 1000"), None, Duration::from_mins(10)).unwrap_err();
        insta::assert_snapshot!(hythe_model::render::fault_lines(&fault).join("\n"));
    }
}
