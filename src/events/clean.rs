//! Text that is safe to show: untrusted code prints what it likes, and terminals obey.

use std::borrow::Cow;

/// The text without control characters, but for tabs and colours (SGR sequences, `ESC [ ... m`).
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\x1b' {
            let (colour, length) = sequence(rest);
            kept.push_str(if colour { &rest[..length] } else { "" });
            rest = &rest[length..];
            continue;
        }
        if !first.is_control() || first == '\t' {
            kept.push(first);
        }
        rest = &rest[first.len_utf8()..];
    }
    Cow::Owned(kept)
}

/// Whether the escape sequence at the start of a text is a colour, and its length.
fn sequence(text: &str) -> (bool, usize) {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return (false, 1) };
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || matches!(c, ';' | ':' | '?')));
    match end.and_then(|end| Some((end, parameters[end..].chars().next()?))) {
        Some((end, last)) if ('@'..='~').contains(&last) => (last == 'm', 2 + end + 1),
        Some((end, _)) => (false, 2 + end),
        None => (false, text.len()),
    }
}

/// Pieces of at most `limit` bytes, cut between characters. An empty text is one empty piece.
pub(crate) fn pieces(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > limit {
        let cut = (1..=limit).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, remainder) = rest.split_at(cut);
        pieces.push(piece);
        rest = remainder;
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(rest);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_commands_to_the_terminal_go() {
        assert_eq!(clean("plain \t text"), "plain \t text");
        assert_eq!(clean("\x1b[1;31mred\x1b[0m"), "\x1b[1;31mred\x1b[0m");
        assert_eq!(clean("a\x1b[2Jb\x1b]0;title\x07c\x1b[?25ld\rE\0"), "ab]0;titlecdE");
        assert_eq!(clean("\x1b["), "");
        assert_eq!(clean("\u{9b}31mx"), "31mx");
        assert_eq!(clean("\x1b[1é"), "é");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(pieces("", 4), [""]);
        assert_eq!(pieces("abcd", 4), ["abcd"]);
        assert_eq!(pieces("abcde", 4), ["abcd", "e"]);
        assert_eq!(pieces("aéé", 4), ["aé", "é"]);
    }
}
