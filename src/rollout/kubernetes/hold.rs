//! A command that waits in its pod until somebody is attached: a container prints from its first moment on, and what nobody
//! is attached to reaches the node's log alone, where standard output and error are one.
//!
//! [`Hold::command`] is what the pod runs: a shell that answers lines of its input, each on both streams, and becomes the
//! command at the last of them. [`Answers`] finds the answers in what a stream says. They begin with a mark that nothing
//! else prints, so that neither a terminal's echo nor the command itself is taken for one.

/// What is asked until both streams answer. An answer may be lost, before a stream is attached.
pub(crate) const ASK: &str = "ask";
/// What lets the command go. Its answer is the last thing before the command's own output.
pub(crate) const GO: &str = "go";

/// Reads byte by byte, as POSIX wants of `read`: whatever follows the last line is left to the command. A terminal has one
/// stream. Its variables are none that a tool's config may have.
const SCRIPT: &str = r#"HYTHE_MARK=$1; shift
while IFS= read -r HYTHE_LINE; do
    echo "$HYTHE_MARK $HYTHE_LINE"
    [ -t 2 ] || echo "$HYTHE_MARK $HYTHE_LINE" >&2
    if [ "$HYTHE_LINE" = go ]; then unset HYTHE_MARK HYTHE_LINE; exec "$@"; fi
done"#;

/// Most bytes that a stream says before the command begins.
const MOST: usize = 64 << 10;

/// One command's mark.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    mark: String,
}

impl Hold {
    /// A mark that nobody else knows.
    pub(crate) fn new() -> Self {
        Self { mark: format!("hythe-{:016x}", rand::random::<u64>()) }
    }

    /// The command, held back.
    pub(crate) fn command(&self, words: Vec<String>) -> Vec<String> {
        let held = ["/bin/sh", "-c", SCRIPT, "sh", &self.mark].map(str::to_owned);
        held.into_iter().chain(words).collect()
    }
}

/// What one stream has said while the command was held.
#[derive(Debug, Default)]
pub(crate) struct Answers(Vec<u8>);

impl Answers {
    /// Takes some more; `false` where it is too much to be answers.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> bool {
        self.0.extend_from_slice(bytes);
        self.0.len() <= MOST
    }

    /// Whether a line was answered whole.
    pub(crate) fn has(&self, hold: &Hold, line: &str) -> bool {
        self.end_of(hold, line).is_some()
    }

    /// What follows the answer to a line.
    pub(crate) fn after(mut self, hold: &Hold, line: &str) -> Vec<u8> {
        let end = self.end_of(hold, line).unwrap_or(0);
        self.0.split_off(end)
    }

    fn end_of(&self, hold: &Hold, line: &str) -> Option<usize> {
        let answer = format!("{} {line}", hold.mark);
        let at = self.0.windows(answer.len()).position(|window| window == answer.as_bytes())?;
        let rest = &self.0[at + answer.len()..];
        Some(at + answer.len() + rest.iter().position(|byte| *byte == b'\n')? + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Output, Stdio};

    fn run(hold: &Hold, words: &[&str], input: &str) -> Output {
        let command = hold.command(words.iter().map(|word| (*word).to_owned()).collect());
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env("line", "kept")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn after(hold: &Hold, said: &[u8]) -> String {
        let mut answers = Answers::default();
        assert!(answers.hear(said) && answers.has(hold, ASK) && answers.has(hold, GO));
        String::from_utf8(answers.after(hold, GO)).unwrap()
    }

    #[test]
    fn the_command_begins_at_the_last_line_and_reads_what_follows() {
        let hold = Hold::new();
        let script = "cat; echo $# \"$1\" $line ${HYTHE_MARK-none}; echo err >&2; exit 3";
        let ran = run(&hold, &["sh", "-c", script, "sh", "a $b"], "ask\nask\ngo\ngo\nrest");
        assert_eq!(ran.status.code(), Some(3));
        assert_eq!(after(&hold, &ran.stdout), "go\nrest1 a $b kept none\n");
        assert_eq!(after(&hold, &ran.stderr), "err\n");
    }

    #[test]
    fn without_the_last_line_nothing_begins() {
        let hold = Hold::new();
        let ran = run(&hold, &["touch", "/nowhere/at/all"], "ask\nno\n");
        assert!(ran.status.success());
        assert_eq!(String::from_utf8(ran.stdout).unwrap().lines().count(), 2);
    }

    #[test]
    fn an_answer_counts_whole_wherever_it_is_cut_and_an_echo_does_not() {
        let hold = Hold::new();
        let said = format!("ask\r\ngo\r\n{0} ask\r\n{0} go\r\n$ ", hold.mark).into_bytes();
        for cut in 0..said.len() {
            let mut answers = Answers::default();
            answers.hear(&said[..cut]);
            assert_eq!(answers.has(&hold, GO), cut >= said.len() - 2, "{cut}");
            answers.hear(&said[cut..]);
            assert_eq!(answers.after(&hold, GO), b"$ ");
        }
        let mut answers = Answers::default();
        assert!(!answers.hear(&vec![0; MOST + 1]));
    }
}
