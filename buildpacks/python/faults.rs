//! What users of Python can put right, in written words.
//!
//! [`of_pip`] reads pip's own output. Ids are stable; the copy is snapshot-tested with recorded output.

use crate::requirements::normal;
use crate::start::Application;
use hythe_buildpack::{Fault, suggest};
use std::path::Path;

mod names;
#[cfg(test)]
mod tests;

/// Turns the output of a pip that failed into a fault. `requirements` is the text of requirements.txt.
pub(crate) fn of_pip(lines: &[String], requirements: Option<&str>, python: &str) -> Fault {
    let file = if requirements.is_some() { "requirements.txt" } else { "pyproject.toml" };
    let context = Context { lines, requirements: requirements.unwrap_or_default(), file, python };
    unreachable_index(&context)
        .or_else(|| invalid(&context))
        .or_else(|| conflict(&context))
        .or_else(|| wrong_hash(&context))
        .or_else(|| not_found(&context))
        .or_else(|| failed_build(&context))
        .unwrap_or_else(|| {
            Fault::new("python/install-failed", "The build failed: pip could not install the packages.")
                .why_lines(context.errors())
                .next(format!("Try the same here: pip install -r {file}"))
        })
}

struct Context<'a> {
    lines: &'a [String],
    requirements: &'a str,
    file: &'static str,
    python: &'a str,
}

impl Context<'_> {
    /// The rest of the first line that holds these words, after them.
    fn after(&self, words: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.split_once(words).map(|(_, rest)| rest))
    }

    fn has(&self, words: &str) -> bool {
        self.lines.iter().any(|line| line.contains(words))
    }

    /// The last lines that pip itself calls errors.
    fn errors(&self) -> Vec<String> {
        let errors: Vec<&String> = self.lines.iter().filter(|line| line.starts_with("ERROR:")).collect();
        let shown = if errors.is_empty() { self.lines.iter().collect() } else { errors };
        shown[shown.len().saturating_sub(5)..].iter().map(|line| (*line).clone()).collect()
    }

    /// Where a package is asked for: ` (line 3)`.
    fn place(&self, name: &str) -> String {
        let wanted = normal(name);
        let named = |line: &str| {
            let end =
                line.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(line.len());
            end > 0 && normal(&line[..end]) == wanted
        };
        let line = self.requirements.lines().position(|line| named(line.trim()));
        line.map(|line| format!(" (line {})", line + 1)).unwrap_or_default()
    }
}

fn unreachable_index(context: &Context<'_>) -> Option<Fault> {
    let line = context.lines.iter().find(|line| {
        line.contains("Max retries exceeded") || line.contains("WARNING: Retrying (Retry(total=0")
    })?;
    Some(
        Fault::new("python/index-unreachable", "The build failed: the package index does not answer.")
            .why(shorten(line))
            .next("Push again in a while. If it stays so, tell the operator: builds may need a mirror or a proxy."),
    )
}

fn invalid(context: &Context<'_>) -> Option<Fault> {
    if let Some(rest) = context.after("Could not open requirements file: ") {
        let name = rest.rsplit('\'').nth(1).unwrap_or("a file");
        return Some(
            Fault::new(
                "python/requirements-invalid",
                "The build failed: requirements.txt includes a file that is not there.",
            )
            .why(format!("{name} does not exist in what was pushed."))
            .next(format!("Add it (git add {name}), or take its line out of requirements.txt.")),
        );
    }
    let rest = context.after("ERROR: Invalid requirement: ")?;
    let requirement = rest.split(['\'', '"']).nth(1).unwrap_or(rest);
    let line = rest.split("(from line ").nth(1).and_then(|rest| rest.split(' ').next());
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let mut fault = Fault::new(
        "python/requirements-invalid",
        format!("The build failed: {} cannot be read.", context.file),
    )
    .why(format!("{place}`{}` is not a requirement.", shorten(requirement)));
    let single = requirement.split_once('=').filter(|(name, version)| {
        !name.ends_with(['=', '<', '>', '!', '~']) && !version.starts_with('=') && !name.is_empty()
    });
    if let Some((name, version)) = single {
        fault = fault.next(format!("Did you mean {}=={}?", name.trim(), version.trim()));
    }
    Some(fault.next("A requirement is a name and, if you like, a version, as in flask==3.0.3."))
}

fn conflict(context: &Context<'_>) -> Option<Fault> {
    if !context.has("ResolutionImpossible") && !context.has("conflicting dependencies") {
        return None;
    }
    let start = context.lines.iter().position(|line| line.starts_with("The conflict is caused by:"));
    let causes = start.map(|start| {
        let rest = context.lines[start + 1..].iter().map(|line| line.trim());
        rest.take_while(|line| !line.is_empty()).take(6).map(str::to_owned).collect::<Vec<_>>()
    });
    Some(
        Fault::new("python/conflict", "The build failed: no set of versions suits all packages.")
            .why_lines(causes.unwrap_or_else(|| context.errors()))
            .next(format!("Loosen or change one of these versions in {}.", context.file)),
    )
}

fn wrong_hash(context: &Context<'_>) -> Option<Fault> {
    context.has("THESE PACKAGES DO NOT MATCH THE HASHES").then(|| {
        let package = context.after("    ").map(|rest| rest.split(" from ").next().unwrap_or(rest));
        Fault::new(
            "python/hash-mismatch",
            "The build failed: a package is not the one whose hash requirements.txt names.",
        )
        .why(shorten(package.unwrap_or_default().trim()))
        .next("If you changed its version, make the file anew: pip-compile --generate-hashes")
        .next("If not, the package on the index was changed: find out why before you go on.")
    })
}

fn not_found(context: &Context<'_>) -> Option<Fault> {
    let requirement = context.after("No matching distribution found for ")?;
    let requirement = requirement.split(" (from").next().unwrap_or(requirement).trim();
    let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let name = &requirement[..end.unwrap_or(requirement.len())];
    let place = context.place(name);
    let versions = context
        .lines
        .iter()
        .filter_map(|line| line.split_once("(from versions: ")?.1.strip_suffix(')'))
        .next_back()
        .filter(|versions| *versions != "none");
    if let Some(fault) = too_old(context, requirement, name, &place) {
        return Some(fault);
    }
    if let Some(versions) = versions {
        let newest: Vec<&str> = versions.split(", ").collect();
        let newest = newest[newest.len().saturating_sub(3)..].join(", ");
        return Some(
            Fault::new("python/version-not-found", format!("The build failed: a version that {} asks for does not exist.", context.file))
                .why(format!("{requirement}{place} is not on the package index, {name} is: {newest} are its newest versions."))
                .next(format!("Choose one of them in {}.", context.file)),
        );
    }
    let guess = suggest(name, names::COMMON.iter().copied());
    let hint = guess.map(|guess| format!(" Did you mean {guess}?")).unwrap_or_default();
    Some(
        Fault::new(
            "python/package-not-found",
            format!("The build failed: a package of {} cannot be found.", context.file),
        )
        .why(format!("{requirement}{place} is not on the package index.{hint}")),
    )
}

/// A package whose version is there, but for another Python.
fn too_old(context: &Context<'_>, requirement: &str, name: &str, place: &str) -> Option<Fault> {
    let ignored = context.after("require a different python version: ")?;
    let version = requirement.split_once("==").map(|(_, version)| version.trim());
    let wish = ignored.split("; ").find_map(|entry| {
        let (of, wish) = entry.split_once(" Requires-Python ")?;
        (version.is_none() || version == Some(of)).then_some(wish)
    })?;
    Some(
        Fault::new("python/too-old", "The build failed: a package needs another version of Python.")
            .why(format!("{requirement}{place} needs Python {wish}; the stack has {}.", context.python))
            .next(format!("Ask for a version of {name} that supports Python {}.", context.python)),
    )
}

fn failed_build(context: &Context<'_>) -> Option<Fault> {
    let named =
        context.after("Could not build wheels for ").or_else(|| context.after("Failed building wheel for "));
    let named = named.map(|rest| rest.split(',').next().unwrap_or(rest).trim());
    let script = context.has("error: subprocess-exited-with-error").then(|| {
        let collected = context.lines.iter().rev().find_map(|line| line.strip_prefix("Collecting "));
        collected
            .and_then(|rest| rest.split([' ', '=', '<', '>', '!', '~', '[']).next())
            .unwrap_or("a package")
    });
    let name = named.or(script)?;
    let mut fault = Fault::new("python/build-failed", "The build failed: a package could not be compiled.")
        .why(format!("{name} has no ready-made wheel for Python {} and did not compile:", context.python))
        .why_lines(compile_errors(context.lines));
    if let Some(header) = context.after("fatal error: ").and_then(|rest| rest.split(':').next()) {
        fault = fault
            .next(format!("The header {header} belongs to a Debian package that the stack does not have."));
    }
    Some(
        fault.next(format!(
            "Another version of {name}, or another package for the same, may come with a wheel."
        )),
    )
}

/// The lines that say why: the compiler's, else the last ones of the package's own build script.
fn compile_errors(lines: &[String]) -> Vec<String> {
    let fatal = lines.iter().filter(|line| line.contains("fatal error: ") || line.contains(": error: "));
    let fatal: Vec<String> = fatal.take(3).map(|line| shorten(line.trim())).collect();
    if !fatal.is_empty() {
        return fatal;
    }
    let end = lines.iter().rposition(|line| line.trim() == "[end of output]").unwrap_or(lines.len());
    lines[end.saturating_sub(3)..end].iter().map(|line| shorten(line.trim())).collect()
}

/// A pyproject.toml that is no TOML.
pub(crate) fn pyproject_invalid(text: &str, error: &toml::de::Error) -> Fault {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    Fault::new("python/pyproject-invalid", "The build failed: pyproject.toml cannot be read.")
        .why(format!("{place}{}", error.message()))
        .next("See https://packaging.python.org/en/latest/specifications/pyproject-toml/")
}

/// A package that is meant to come from a place which pip is not told of.
pub(crate) fn sources_unsupported(name: &str, table: &str) -> Fault {
    Fault::new(
        "python/sources-unsupported",
        "The build failed: pyproject.toml takes a package from a place that is not supported there.",
    )
    .why(format!("[{table}] says where {name} comes from; pip does not read it and would take another."))
    .next("Say it in a requirements.txt, which is read instead:")
    .next(format!("a folder as ./libs/{name}, a repository as {name} @ git+https://example.org/{name}.git,"))
    .next("a private index as a line --index-url https://example.org/simple.")
}

/// A dependency in Poetry's form that requirements cannot say.
pub(crate) fn poetry_unsupported(name: &str, wish: &toml::Value) -> Fault {
    Fault::new(
        "python/poetry-unsupported",
        "The build failed: a dependency of pyproject.toml is in words that only Poetry knows.",
    )
    .why(format!("`{}` cannot be told to pip.", shorten(&format!("{name} = {wish}"))))
    .next("Run: poetry export -o requirements.txt, and commit that file: it is read instead.")
    .next("Or name a single range, as in ^1.2 or >=1.2,<3.")
}

/// A version of Python that cannot be understood.
pub(crate) fn python_unreadable(version: &str, file: &str) -> Fault {
    Fault::new(
        "python/version-invalid",
        format!("The build failed: the version of Python in {file} cannot be read."),
    )
    .why(format!("`{}` is not a version.", shorten(version)))
    .next("Write it as 3.11, or take it out: the stack's version is used then.")
}

/// A version of Python that the stack does not have.
pub(crate) fn python_unavailable(wanted: &str, file: &str, has: &str) -> Fault {
    Fault::new("python/version-unavailable", format!("The build failed: the stack has no Python {wanted}."))
        .why(format!("{file} asks for Python {wanted}; the stack has {has}."))
        .next(format!("Change {file}, or take the version out of it."))
}

/// An application without a server.
pub(crate) fn no_server(application: &Application) -> Fault {
    let (kind, server, version) = match application.interface {
        crate::start::Interface::Asgi => ("ASGI", "uvicorn", "uvicorn==0.38.0"),
        crate::start::Interface::Wsgi => ("WSGI", "gunicorn", "gunicorn==23.0.0"),
    };
    Fault::new(
        "python/no-server",
        format!("The build failed: nothing that serves {} is installed.", application.target),
    )
    .why(format!(
        "{} has the {kind} application {}, but {server} is not among the packages.",
        application.file, application.target
    ))
    .next(format!("Add a line to requirements.txt: {version}"))
    .next("Or name a command in a Procfile that listens on 0.0.0.0:$PORT.")
}

/// Nothing to start.
pub(crate) fn no_start_command(app: &Path) -> Fault {
    let files = app.read_dir().into_iter().flatten().flatten();
    let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|e| e == "py"));
    names.sort();
    names.truncate(5);
    let seen = if names.is_empty() {
        "There is no Python file at the root.".to_owned()
    } else {
        format!("Looked at: {}.", names.join(", "))
    };
    Fault::new("python/no-start-command", "The build failed: it is not clear how the tool is started.")
        .why("No Flask, FastAPI or other WSGI or ASGI application was found, and no file that runs as a program.")
        .why(seen)
        .next("Name the command in a Procfile, as in `web: python bot.py`.")
}

fn shorten(line: &str) -> String {
    let mut short: String = line.chars().take(200).collect();
    if short.len() < line.len() {
        short.push_str(" ...");
    }
    short
}
