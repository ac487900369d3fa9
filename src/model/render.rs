//! Build events as the lines people read.
//!
//! The side band of a push and the CLI show the same text; [`Renderer`] is the only place that knows its shape.

use crate::{BuildEvent, BuildId, CommitId, Fault, Phase, ToolName};

/// Width of the column that holds the phase's word.
const WORD: usize = 10;
/// Column at which a phase's duration stands.
const DURATION: usize = 66;

/// Renders events in order; remembers the phase so that its word is shown once.
#[derive(Debug, Default)]
pub struct Renderer {
    phase: Option<Phase>,
}

impl Renderer {
    /// A renderer at the start of a log.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines that one event adds, without line ends.
    pub fn render(&mut self, event: &BuildEvent) -> Vec<String> {
        match event {
            BuildEvent::Note { phase, text, millis } => vec![self.note(*phase, text, *millis)],
            BuildEvent::Output { phase, line } => {
                let word = self.word(*phase);
                vec![format!("{word:WORD$}  {line}")]
            }
            BuildEvent::Live { release, url, millis } => {
                vec![String::new(), format!("{release} is live: {url}     {} in all", duration(*millis))]
            }
            BuildEvent::Failed { fault } => fault_lines(fault),
        }
    }

    fn note(&mut self, phase: Phase, text: &str, millis: Option<u64>) -> String {
        let word = self.word(phase);
        let line = format!("{word:WORD$}{text}");
        match millis {
            Some(millis) => format!("{line:<DURATION$} {:>6}", duration(millis)),
            None => line,
        }
    }

    fn word(&mut self, phase: Phase) -> &'static str {
        if self.phase == Some(phase) {
            return "";
        }
        self.phase = Some(phase);
        phase.word()
    }
}

/// A fault as it ends a log: the sentence with its id at the right, then details and what to do, indented.
pub fn fault_lines(fault: &Fault) -> Vec<String> {
    let head = format!("{:<70} [{}]", fault.what, fault.id);
    let rest = fault.why.iter().chain(&fault.next).map(|line| format!("  {line}"));
    [String::new(), head].into_iter().chain(rest).collect()
}

/// The lines that open a build's log: what of the tool is built, and an empty one.
pub fn heading(tool: &ToolName, reference: &str, commit: &CommitId, subject: &str) -> [String; 2] {
    let branch = branch(reference);
    [format!("Hythe  {tool}  {branch} {} \"{subject}\"", commit.short()), String::new()]
}

/// A ref as people call it: `main`.
pub fn branch(reference: &str) -> &str {
    reference.strip_prefix("refs/heads/").unwrap_or(reference)
}

/// The fault that ends a build's log, with where to read it again.
#[must_use]
pub fn with_log(fault: Fault, tool: &ToolName, build: BuildId) -> Fault {
    fault.next(format!("Log: hythe logs --build {build} -t {tool}"))
}

/// A duration as people read it: `340 ms`, `8.1 s`, `2 min 5 s`.
pub fn duration(millis: u64) -> String {
    match millis {
        0..=99 => format!("{millis} ms"),
        100..=59_999 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
    }
}

/// A size as people read it: `812 bytes`, `1.8 MB`; powers of ten, as disks and registries count.
pub fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit / (unit / 10));
    match bytes {
        0..=999 => format!("{bytes} bytes"),
        1_000..=999_999 => format!("{} kB", tenths(1_000)),
        1_000_000..=999_999_999 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_in_columns() {
        let mut renderer = Renderer::new();
        let note = |phase, text: &str, millis| BuildEvent::Note { phase, text: text.into(), millis };
        let events = [
            note(Phase::Source, "312 files, 1.8 MB", Some(110)),
            note(Phase::Build, "pip              requirements.txt changed: + httpx 0.28", None),
            BuildEvent::Output { phase: Phase::Build, line: "Collecting httpx==0.28.1 ...".into() },
            BuildEvent::Live {
                release: "v14".into(),
                url: "https://weather.example.org".into(),
                millis: 8140,
            },
        ];
        let lines: Vec<_> = events.iter().flat_map(|event| renderer.render(event)).collect();
        assert_eq!(
            lines,
            [
                "source    312 files, 1.8 MB                                         0.1 s",
                "build     pip              requirements.txt changed: + httpx 0.28",
                "            Collecting httpx==0.28.1 ...",
                "",
                "v14 is live: https://weather.example.org     8.1 s in all",
            ]
        );
    }

    #[test]
    fn a_fault_names_its_id_and_the_next_step() {
        let fault = Fault::new("build/too-long", "The build failed: it took longer than 20 min.")
            .next("Log: hythe logs --build 212");
        let lines = fault_lines(&fault);
        assert!(lines[1].starts_with("The build failed") && lines[1].ends_with("[build/too-long]"));
        assert_eq!(lines[2], "  Log: hythe logs --build 212");
    }

    #[test]
    fn a_log_opens_with_what_is_built_and_a_failure_says_where_it_is() {
        let (tool, commit) = ("weather".parse().unwrap(), "4f2a91c0".repeat(5).parse().unwrap());
        let lines = heading(&tool, "refs/heads/main", &commit, "Show wind in knots");
        assert_eq!(lines, ["Hythe  weather  main 4f2a91c \"Show wind in knots\"", ""]);
        assert_eq!(heading(&tool, "main", &commit, "Show wind in knots"), lines);
        let fault = with_log(Fault::new("build/too-long", "It took too long."), &tool, BuildId(212));
        assert_eq!(fault.next, ["Log: hythe logs --build 212 -t weather"]);
    }

    #[test]
    fn figures_have_units() {
        assert_eq!([duration(40), duration(1234), duration(125_000)], ["40 ms", "1.2 s", "2 min 5 s"]);
        assert_eq!([size(812), size(1_840_000), size(2_500_000_000)], ["812 bytes", "1.8 MB", "2.5 GB"]);
    }
}
