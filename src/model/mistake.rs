//! Mistakes in a TOML file that people write, in words: which setting, what is wrong with it, what was meant.

/// The words of a mistake, from those of the parser.
pub fn explain(message: &str, section: &str) -> (String, Option<String>) {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (given, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let what = match section {
            "" => format!("there is no section [{given}]"),
            section => format!("there is no setting `{given}` in [{section}]"),
        };
        return (what, Some(nearest(given, &known)));
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let (given, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return (
            format!("`{given}` is not one of the choices"),
            Some(format!("There are: {}.", known.join(", "))),
        );
    }
    if let Some((given, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return (format!("{given} does not fit here"), Some(format!("This setting takes {expected}.")));
    }
    match message {
        "invalid socket address syntax" => {
            let next = "Write it as in 127.0.0.1:2222 or [::1]:2222.";
            ("this is not an address with a port".to_owned(), Some(next.to_owned()))
        }
        "invalid IP address syntax" => (
            "this is not an IP address".to_owned(),
            Some("Write it as in 192.0.2.53 or 2001:db8::53.".to_owned()),
        ),
        other => (other.to_owned(), None),
    }
}

/// "Did you mean", or all there is.
fn nearest(given: &str, known: &[&str]) -> String {
    let given = given.replace('-', "_").to_lowercase();
    let distance = |name: &&&str| strsim::osa_distance(&given, name);
    let contained =
        || known.iter().find(|name| given.len() > 3 && (name.contains(&given) || given.contains(**name)));
    let close = known.iter().min_by_key(distance).filter(|name| distance(name) <= given.len() / 3 + 1);
    match close.or_else(contained) {
        Some(name) => format!("Did you mean `{name}`?"),
        None => format!("There are: {}.", known.join(", ")),
    }
}

/// The table that a place in the text belongs to; empty where it stands before or in a header, or the header is wrong.
pub fn section_at(text: &str, at: usize) -> String {
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    if text[line_start..].trim_start().starts_with('[') {
        let header = header_name(&text[line_start..]).unwrap_or_default();
        return header.rsplit_once('.').map(|(parent, _)| parent.to_owned()).unwrap_or_default();
    }
    text[..line_start].lines().rev().find_map(header_name).unwrap_or_default()
}

fn header_name(line: &str) -> Option<String> {
    let line = line.lines().next()?.trim();
    let name = line.strip_prefix('[')?.split_once(']')?.0;
    Some(name.trim().to_owned())
}
