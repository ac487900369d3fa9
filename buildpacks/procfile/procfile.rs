//! The file format.

use hythe_buildpack::Fault;

/// One line of a Procfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) command: String,
}

/// Reads a Procfile; blank lines and lines that begin with `#` say nothing.
pub(crate) fn parse(text: &str) -> Result<Vec<Process>, Fault> {
    let mut processes: Vec<Process> = Vec::new();
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    for (number, line) in lines.map(|(i, line)| (i + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let process = parse_line(line).map_err(|why| invalid(number, line, why))?;
        if processes.iter().any(|other| other.name == process.name) {
            return Err(invalid(number, line, "a process of this name is there already"));
        }
        processes.push(process);
    }
    if processes.is_empty() {
        return Err(Fault::new("procfile/empty", "The build failed: the Procfile names no process.")
            .next("Write a line such as `web: ./serve --port $PORT`, or remove the file."));
    }
    Ok(processes)
}

fn parse_line(line: &str) -> Result<Process, &'static str> {
    let (name, command) = line.split_once(':').ok_or("there is no colon after the process's name")?;
    let (name, command) = (name.trim(), command.trim());
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Err("a process's name is letters, digits, `-` and `_`");
    }
    if command.is_empty() {
        return Err("there is no command after the colon");
    }
    Ok(Process { name: name.to_owned(), command: command.to_owned() })
}

fn invalid(number: usize, line: &str, why: &str) -> Fault {
    let line: String = line.chars().take(80).collect();
    Fault::new("procfile/invalid", format!("The build failed: line {number} of the Procfile cannot be read."))
        .why(format!("{number} | {line}"))
        .why(format!("{why}."))
        .next("Each line is `name: command`, as in `web: gunicorn app:app --bind 0.0.0.0:$PORT`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_processes() {
        let text = "\u{feff}# what runs\nweb: gunicorn app:app --bind 0.0.0.0:$PORT\r\n\nclean-up:  python a.py : b \n";
        let processes = parse(text).unwrap();
        let pairs: Vec<_> = processes.iter().map(|p| (p.name.as_str(), p.command.as_str())).collect();
        assert_eq!(
            pairs,
            [("web", "gunicorn app:app --bind 0.0.0.0:$PORT"), ("clean-up", "python a.py : b")]
        );
    }

    #[test]
    fn the_copy_of_faults() {
        let show = |text: &str| {
            let fault = parse(text).unwrap_err();
            let lines = fault.why.iter().chain(&fault.next).map(|line| format!("\n  {line}"));
            format!("{} [{}]{}", fault.what, fault.id, lines.collect::<String>())
        };
        let texts = ["# nothing\n", "web: x\nworker python bot.py", "web:", "we b: x", "web: x\nweb: y"];
        insta::assert_snapshot!(texts.map(show).join("\n\n"));
    }

    #[test]
    fn mistakes_are_shown_with_their_line() {
        for (text, why) in [
            ("web gunicorn", "there is no colon after the process's name."),
            ("web:", "there is no command after the colon."),
            ("we b: x", "a process's name is letters, digits, `-` and `_`."),
            ("web: x\nweb: y", "a process of this name is there already."),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!((fault.id, fault.why[1].as_str()), ("procfile/invalid", why));
        }
        assert_eq!(
            parse("web: x\nbad").unwrap_err().what,
            "The build failed: line 2 of the Procfile cannot be read."
        );
        assert_eq!(parse("# nothing\n").unwrap_err().id, "procfile/empty");
    }
}
