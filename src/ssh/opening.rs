//! The first words of a push: where the client's own history is cut off.
//!
//! A shallow client says `shallow <commit>`, a pkt-line each, before it names the refs (gitprotocol-pack, "Reference
//! Update Request"). These lines are taken out of the stream and noted in the repository instead.

use hythe_model::CommitId;

/// More cuts than any client has.
const MOST: usize = 10_000;
/// A line that says where history is cut off, with a SHA-256 name, is not longer.
const LONGEST: usize = 80;

/// The stream up to the first line that is not about cuts.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: Vec<u8>,
    cuts: Vec<CommitId>,
}

/// What the opening holds so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Not enough to tell.
    More,
    /// All of it.
    Whole,
    /// Not what git says.
    Malformed,
}

impl Opening {
    /// Takes in what arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Read {
        self.bytes.extend_from_slice(bytes);
        loop {
            let Some(digits) = self.bytes.get(..4) else { return Read::More };
            let length =
                std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let length = match length {
                None => return Read::Malformed,
                Some(length) if !(12..=LONGEST).contains(&length) => return Read::Whole,
                Some(length) => length,
            };
            let Some(line) = self.bytes.get(4..length) else { return Read::More };
            let Some(name) = line.strip_prefix(b"shallow ") else { return Read::Whole };
            let name = std::str::from_utf8(name).ok().and_then(|name| name.trim_end().parse().ok());
            match name {
                Some(cut) if self.cuts.len() < MOST => self.cuts.push(cut),
                _ => return Read::Malformed,
            }
            self.bytes.drain(..length);
        }
    }

    /// The cuts, and what of the stream is left for git.
    pub(crate) fn into_parts(self) -> (Vec<CommitId>, Vec<u8>) {
        (self.cuts, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &[u8] = b"00a0000000000000000000000000000000000000000 ";

    fn shallow(digit: &str) -> Vec<u8> {
        format!("0035shallow {}\n", digit.repeat(40)).into_bytes()
    }

    #[test]
    fn cuts_are_taken_out_wherever_the_stream_breaks() {
        let stream = [shallow("a"), shallow("b"), COMMAND.to_vec()].concat();
        for size in 1..stream.len() {
            let mut opening = Opening::default();
            let last = stream.chunks(size).map(|chunk| opening.push(chunk)).find(|read| *read != Read::More);
            assert_eq!(last, Some(Read::Whole), "chunks of {size}");
            let (cuts, rest) = opening.into_parts();
            assert_eq!(cuts, ["a", "b"].map(|digit| digit.repeat(40).parse::<CommitId>().unwrap()));
            assert!(COMMAND.starts_with(&rest) && rest.len() >= 4);
        }
    }

    #[test]
    fn other_streams_pass_untouched() {
        for stream in [COMMAND, b"0000", b"0000PACK"] {
            let mut opening = Opening::default();
            assert_eq!(opening.push(stream), Read::Whole);
            assert_eq!(opening.into_parts(), (Vec::new(), stream.to_vec()));
        }
        assert_eq!(Opening::default().push(b"zzzz"), Read::Malformed);
        assert_eq!(Opening::default().push(b"0010shallow zzzz"), Read::Malformed);
        assert_eq!(Opening::default().push(b"00"), Read::More);
    }
}
