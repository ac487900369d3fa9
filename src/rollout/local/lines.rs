//! The last lines of an instance, from the files that the sandbox helper writes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Lines that are kept.
const LINES: usize = 20;
/// The longest line, in characters.
const LENGTH: usize = 400;
/// Bytes that are read from the end of a file.
const TAIL: u64 = 64 << 10;

/// The last lines that were printed, oldest first, fit for a terminal. Nothing where there is no log.
pub(crate) fn last_lines(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in segments(folder).iter().rev() {
        let mut older = tail(file).unwrap_or_default();
        older.extend(lines);
        lines = older;
        if lines.len() >= LINES {
            break;
        }
    }
    let surplus = lines.len().saturating_sub(LINES);
    lines.split_off(surplus)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

fn tail(path: &Path) -> std::io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be the end of one.
    let whole = if start == 0 { &*text } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
    Ok(whole.lines().filter_map(printed).collect())
}

/// The text of a line `<nanoseconds> <o|e> <text>`.
fn printed(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(' ')?;
    let text =
        rest.strip_prefix("o ").or_else(|| rest.strip_prefix("e ")).or((rest.len() == 1).then_some(""))?;
    Some(without_controls(text).chars().take(LENGTH).collect())
}

/// Text without escape sequences and control characters, which could rewrite a reader's screen.
pub(crate) fn without_controls(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => clean.push_str("    "),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_come_from_the_last_segments() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, from: usize, to: usize| {
            let lines: Vec<_> = (from..to).map(|n| format!("17000000000000000{n:02} o line {n}\n")).collect();
            std::fs::write(folder.path().join(name), lines.concat()).unwrap();
        };
        write("0000000001.log", 0, 30);
        write("0000000002.log", 30, 35);
        let lines = last_lines(folder.path());
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 15", "line 34"));
        assert!(last_lines(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn a_long_log_is_read_from_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<_> = (0..5000).map(|n| format!("1 e {n} {}\n", "x".repeat(100))).collect();
        std::fs::write(folder.path().join("0000000001.log"), lines.concat()).unwrap();
        let last = last_lines(folder.path());
        assert_eq!(last.len(), 20);
        assert!(last[0].starts_with("4980 ") && last[19].starts_with("4999 "));
    }

    #[test]
    fn lines_cannot_rewrite_a_screen() {
        assert_eq!(printed("1 e \u{1b}[31mred\u{1b}[0m\u{7}\ttext\r").as_deref(), Some("red    text"));
        assert_eq!(printed("1 o ").as_deref(), Some(""));
        assert_eq!(printed("1 o").as_deref(), Some(""));
        assert_eq!(printed("nothing"), None);
    }
}
