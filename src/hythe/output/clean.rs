//! Text from elsewhere made fit for a terminal.
//!
//! What a tool or a buildpack prints may carry escapes. Colours (SGR) stay; whatever could move the cursor, set a
//! title, answer a query or write the clipboard goes.

/// The text without control characters, save tabs and colour escapes.
pub(crate) fn clean(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut coloured = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if let Some(escape) = escape(&mut chars) {
                    kept += &escape;
                    coloured = true;
                }
            }
            '\t' => kept.push(c),
            _ if c.is_control() || is_direction(c) => {}
            _ => kept.push(c),
        }
    }
    if coloured {
        kept += "\u{1b}[0m";
    }
    kept
}

/// Consumes what follows an escape character; answers the whole escape where it is a colour.
fn escape(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let rest = chars.as_str();
    match chars.next()? {
        '[' => {
            let body = &rest[1..];
            let Some(end) = body.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c)) else {
                *chars = "".chars();
                return None;
            };
            *chars = body[end + 1..].chars();
            let parameters = &body[..end];
            let plain = parameters.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'));
            (body[end..].starts_with('m') && plain).then(|| format!("\u{1b}[{parameters}m"))
        }
        // Strings (OSC, DCS, APC, PM, SOS) reach to BEL or ST; without an end they take the rest.
        ']' | 'P' | '_' | '^' | 'X' => {
            let body = chars.as_str();
            let end = body
                .find(['\u{7}', '\u{9c}'])
                .map(|at| at + body[at..].chars().next().map_or(1, char::len_utf8));
            let st = body.find("\u{1b}\\").map(|at| at + 2);
            let end = [end, st].into_iter().flatten().min().unwrap_or(body.len());
            *chars = body[end..].chars();
            None
        }
        _ => None,
    }
}

/// Characters that reorder the text around them (Unicode TR 9).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn colours_stay_and_everything_else_goes() {
        assert_eq!(clean("plain\ttext é"), "plain\ttext é");
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m"), "\u{1b}[31mred\u{1b}[0m\u{1b}[0m");
        assert_eq!(clean("a\u{1b}[2Jb\u{1b}[1;1Hc\u{1b}[?25l"), "abc");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b"), "ab");
        assert_eq!(clean("a\u{1b}]52;c;Zm9v\u{1b}\\b"), "ab");
        assert_eq!(clean("a\u{1b}]0;no end"), "a");
        assert_eq!(clean("a\u{1b}Pq\u{9c}b\u{1b}cd"), "abd");
        assert_eq!(clean("over\rwritten\u{8}\u{0}\u{9b}2J"), "overwritten2J");
        assert_eq!(clean("a\u{202e}b"), "ab");
        assert_eq!(clean("end\u{1b}"), "end");
        assert_eq!(clean("\u{1b}[31"), "");
    }
}
