//! Git's pkt-lines: four hexadecimal digits of length, themselves counted, then that many bytes less four.

use std::io::{self, Read, Write};

/// The most bytes that one line carries (gitprotocol-common).
const LONGEST: usize = 65516;
/// More lines than any section of a push may have.
const MOST: usize = 100_000;

/// Writes a line.
pub(super) fn line(out: &mut impl Write, text: &str) -> io::Result<()> {
    let length = text.len() + 1;
    if length > LONGEST {
        return Err(io::Error::other("a pkt-line is too long"));
    }
    writeln!(out, "{:04x}{text}", length + 4)
}

/// Ends a section.
pub(super) fn flush(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"0000")?;
    out.flush()
}

/// Reads the lines of a section, without their ends.
pub(super) fn section(input: &mut impl Read) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    while lines.len() < MOST {
        let mut digits = [0; 4];
        input.read_exact(&mut digits)?;
        let digits = std::str::from_utf8(&digits).map_err(io::Error::other)?;
        let length = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        match length {
            0 => return Ok(lines),
            4..=65520 => {
                let mut text = vec![0; length - 4];
                input.read_exact(&mut text)?;
                let text = String::from_utf8(text).map_err(io::Error::other)?;
                lines.push(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text));
            }
            _ => return Err(io::Error::other("a pkt-line has a length that is not known")),
        }
    }
    Err(io::Error::other("a section has too many lines"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        let mut bytes = Vec::new();
        line(&mut bytes, "ok refs/heads/main").unwrap();
        line(&mut bytes, "").unwrap();
        flush(&mut bytes).unwrap();
        assert_eq!(section(&mut bytes.as_slice()).unwrap(), ["ok refs/heads/main", ""]);
    }

    #[test]
    fn damaged_lines_are_errors() {
        for bad in [&b"0003"[..], b"zzzz", b"0009ab", b"00", b"fffff", b"0006\xff\xff0000"] {
            assert!(section(&mut &bad[..]).is_err(), "{bad:?}");
        }
        assert!(line(&mut Vec::new(), &"x".repeat(70_000)).is_err());
    }
}
