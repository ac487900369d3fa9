//! Lines of chunks, masked.

use super::Masker;
use crate::clean::clean;

/// Makes masked lines of chunks of bytes, however a secret or a character is split between them.
#[derive(Debug)]
pub struct MaskedLines {
    masker: Masker,
    line_bytes: usize,
    buffer: Vec<u8>,
}

impl MaskedLines {
    /// Lines of at most `line_bytes` bytes or a little more; longer ones are cut, never inside a secret.
    pub fn new(masker: Masker, line_bytes: usize) -> Self {
        Self { masker, line_bytes: line_bytes.max(16), buffer: Vec::new() }
    }

    /// Takes a chunk; answers the lines that it completes.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.buffer.extend_from_slice(piece);
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
                self.flush(&mut lines);
            } else {
                // A secret that begins before the cut ends within so many bytes after it.
                self.cut(&mut lines, self.line_bytes + self.masker.longest());
            }
        }
        lines
    }

    /// The rest of the last line, where it had no end.
    pub fn finish(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.buffer.is_empty() {
            self.flush(&mut lines);
        }
        lines
    }

    fn flush(&mut self, lines: &mut Vec<String>) {
        self.cut(lines, self.line_bytes);
        lines.push(self.text(&self.buffer));
        self.buffer.clear();
    }

    /// Cuts lines off while more than `most` bytes wait.
    fn cut(&mut self, lines: &mut Vec<String>, most: usize) {
        while self.buffer.len() > most {
            let at = self.place_to_cut();
            lines.push(self.text(&self.buffer[..at]));
            self.buffer.drain(..at);
        }
    }

    fn place_to_cut(&self) -> usize {
        let mut at = self.line_bytes;
        let inside = self.masker.places(&self.buffer).take_while(|place| place.start < at);
        if let Some(place) = inside.last().filter(|place| place.end > at) {
            return place.end;
        }
        // Back to the start of a character; one has four bytes at most.
        while at > self.line_bytes - 4 && self.buffer.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) {
            at -= 1;
        }
        at
    }

    fn text(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        self.masker.mask(&clean(&text)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]], line_bytes: usize) -> Vec<String> {
        let mut lines = MaskedLines::new(Masker::new(["hunter2", "grüße"]), line_bytes);
        let mut seen: Vec<String> = chunks.iter().flat_map(|chunk| lines.push(chunk)).collect();
        seen.extend(lines.finish());
        seen
    }

    #[test]
    fn wherever_chunks_end_the_lines_are_the_same() {
        let text = "first\n\npassword=hunter2 and grüße\r\nlast hunter2".as_bytes();
        let expected = ["first", "", "password=[masked] and [masked]", "last [masked]"];
        for at in 0..=text.len() {
            assert_eq!(all(&[&text[..at], &text[at..]], 100), expected, "split at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(all(&bytes, 100), expected);
    }

    #[test]
    fn a_long_line_is_never_cut_inside_a_secret_or_a_character() {
        for shift in 0..40 {
            let line = format!("{}hunter2{}é", "x".repeat(shift), "y".repeat(50));
            let one_by_one: Vec<&[u8]> = line.as_bytes().chunks(1).collect();
            for chunks in [vec![line.as_bytes()], one_by_one] {
                let seen = all(&chunks, 20);
                let joined = seen.concat();
                assert_eq!(joined, line.replace("hunter2", "[masked]"), "{shift}");
                assert!(seen.iter().all(|piece| piece.len() <= 20 + "[masked]".len()), "{seen:?}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_without_any_line_end() {
        let mut lines = MaskedLines::new(Masker::new(["hunter2"]), 100);
        let mut bytes = 0;
        for _ in 0..1000 {
            bytes += lines.push(&[b'z'; 1000]).iter().map(String::len).sum::<usize>();
            assert!(lines.buffer.len() <= 100 + 7);
        }
        assert!(bytes > 999_000);
    }
}
