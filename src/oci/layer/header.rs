//! Tar headers, byte for byte those that Go's `archive/tar` chooses: ustar where the entry fits, PAX otherwise.
//!
//! Every entry bears the same time and no user or group name.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// 1980-01-01T00:00:01Z, in seconds since 1970.
pub(crate) const MTIME: u64 = 315_532_801;

const NAME: usize = 100;
const PREFIX: usize = 155;

/// What an entry is, as its type flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    File = b'0' as isize,
    Symlink = b'2' as isize,
    Dir = b'5' as isize,
    Fifo = b'6' as isize,
}

/// An entry's header.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: Type,
    pub(crate) link: &'a [u8],
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Header<'_> {
    /// Appends its blocks: a PAX header where one is needed, then the header.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let split = split_ustar(self.name);
        let records = self.pax_records();
        let only_long_name = records.len() == 1 && records[0].0 == "path" && split.is_some();
        if records.is_empty() || only_long_name {
            let (prefix, name) = split.unwrap_or((b"", self.name));
            self.write_block(name, self.link, prefix, out);
        } else {
            write_pax(self.name, &records, out);
            self.write_block(&ascii(self.name), &ascii(self.link), b"", out);
        }
    }

    /// The fields that do not fit a plain header, by key, in the order of keys.
    fn pax_records(&self) -> Vec<(&'static str, Vec<u8>)> {
        let long = |text: &[u8]| text.len() > NAME || !text.is_ascii();
        let number = |value: u64| value.to_string().into_bytes();
        let mut records = Vec::new();
        if !fits_octal(8, self.gid.into()) {
            records.push(("gid", number(self.gid.into())));
        }
        if long(self.link) {
            records.push(("linkpath", self.link.to_vec()));
        }
        if long(self.name) {
            records.push(("path", self.name.to_vec()));
        }
        if !fits_octal(12, self.size) {
            records.push(("size", number(self.size)));
        }
        if !fits_octal(8, self.uid.into()) {
            records.push(("uid", number(self.uid.into())));
        }
        records
    }

    fn write_block(&self, name: &[u8], link: &[u8], prefix: &[u8], out: &mut Vec<u8>) {
        let mut block = Block([0; BLOCK]);
        block.text(0, NAME, name);
        block.octal(100, 8, self.mode.into());
        block.octal(108, 8, self.uid.into());
        block.octal(116, 8, self.gid.into());
        block.octal(124, 12, self.size);
        block.octal(136, 12, MTIME);
        block.0[156] = self.kind as u8;
        block.text(157, NAME, link);
        block.octal(329, 8, 0);
        block.octal(337, 8, 0);
        block.text(345, PREFIX, prefix);
        block.seal(out);
    }
}

/// One block of 512 bytes.
struct Block([u8; BLOCK]);

impl Block {
    /// Writes as much of `text` as fits; a cut never leaves a slash at its end, which some readers take for a folder.
    fn text(&mut self, at: usize, width: usize, text: &[u8]) {
        let mut end = text.len().min(width);
        if text.len() > width && text[width - 1] == b'/' {
            while end > 0 && text[end - 1] == b'/' {
                end -= 1;
            }
        }
        self.0[at..at + end].copy_from_slice(&text[..end]);
    }

    /// Writes `value` with leading zeros and a NUL; zero where it does not fit, as a PAX record then says it.
    fn octal(&mut self, at: usize, width: usize, value: u64) {
        let value = if fits_octal(width, value) { value } else { 0 };
        let digits = format!("{value:0width$o}", width = width - 1);
        self.0[at..at + digits.len()].copy_from_slice(digits.as_bytes());
    }

    /// Adds magic and checksum, and appends the block.
    fn seal(mut self, out: &mut Vec<u8>) {
        self.0[257..265].copy_from_slice(b"ustar\x0000");
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.octal(148, 7, sum);
        self.0[154] = 0;
        out.extend_from_slice(&self.0);
    }
}

fn fits_octal(width: usize, value: u64) -> bool {
    value < 1 << ((width - 1) * 3)
}

/// Splits a name of more than 100 bytes at a slash, so that both parts fit the plain header.
fn split_ustar(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !name.is_ascii() {
        return None;
    }
    let within = &name[..name.len().min(PREFIX + 1)];
    let slash = within.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0)?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!rest.is_empty() && rest.len() <= NAME).then_some((prefix, rest))
}

/// Without everything that is not ASCII.
fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(u8::is_ascii).collect()
}

fn write_pax(name: &[u8], records: &[(&str, Vec<u8>)], out: &mut Vec<u8>) {
    let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    let slash = name.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let mut place = ascii(&[&name[..slash], b"PaxHeaders.0/", &name[slash..]].concat());
    place.truncate(NAME);
    while place.last() == Some(&b'/') {
        place.pop();
    }
    let mut block = Block([0; BLOCK]);
    block.text(0, NAME, &place);
    for (at, width) in [(100, 8), (108, 8), (116, 8), (136, 12)] {
        block.octal(at, width, 0);
    }
    block.octal(124, 12, data.len() as u64);
    block.0[156] = b'x';
    block.seal(out);
    out.extend_from_slice(&data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// `"<length> <key>=<value>\n"`, where the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_length() {
        assert_eq!(record("path", b"x"), b"9 path=x\n");
        for size in 80..110 {
            let record = record("path", &vec![b'x'; size]);
            let said: usize =
                std::str::from_utf8(&record).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn long_names_split_at_a_slash_where_they_can() {
        let name = format!("/{}/{}", "d".repeat(90), "f".repeat(90));
        let (prefix, rest) = split_ustar(name.as_bytes()).unwrap();
        assert_eq!((prefix.len(), rest.len()), (91, 90));
        assert!(split_ustar(format!("/{}", "f".repeat(101)).as_bytes()).is_none());
    }
}
