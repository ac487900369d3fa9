//! Finds how the tool is started: the application object in the code, and the server among the packages.

use crate::faults;
use hythe_buildpack::Fault;
use std::path::Path;

/// Files that are looked at first, in this order.
const LIKELY: [&str; 8] =
    ["app.py", "main.py", "wsgi.py", "asgi.py", "server.py", "application.py", "api.py", "run.py"];
/// Programs that are taken for the tool itself, in this order.
const PROGRAMS: [&str; 7] = ["app.py", "main.py", "server.py", "web.py", "run.py", "serve.py", "bot.py"];
/// Files that are never how a tool is started.
const NEVER: [&str; 3] = ["setup", "manage", "conftest"];
/// Most bytes of a file that are read.
const MAX_BYTES: usize = 1 << 20;

/// How a server speaks to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    Asgi,
    Wsgi,
}

/// An application object in the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Application {
    /// The file, relative to the source.
    pub(crate) file: String,
    /// `module:object`, as servers take it.
    pub(crate) target: String,
    pub(crate) interface: Interface,
    /// Whether the object is a function that makes the application.
    factory: bool,
}

/// The line that starts the web process, where something here says it or something else is going to.
pub(crate) fn determine_web(app: &Path, bin: &Path) -> Result<Option<String>, Fault> {
    let (node, procfile) = (starts_in_node(app), app.join("Procfile").is_file());
    match determine_start(app, bin, node || procfile) {
        Ok(None) if node => Ok(None),
        Ok(Some(line)) => Ok(Some(line)),
        _ if procfile => Ok(None),
        Ok(None) => Err(faults::no_start_command(app)),
        Err(fault) => Err(fault),
    }
}

/// Whether the source is a tool in Node.js with Python beside it.
fn starts_in_node(app: &Path) -> bool {
    let text = std::fs::read(app.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    package["scripts"]["start"].is_string()
}

/// The line that starts what the code is, with the programs in the environment's `bin`; `elsewhere` where something
/// else says how the tool is started too.
fn determine_start(app: &Path, bin: &Path, elsewhere: bool) -> Result<Option<String>, Fault> {
    let files = candidates(app);
    let applications: Vec<Application> =
        files.iter().filter_map(|(file, text)| find_application(file, text)).collect();
    if let Some(line) = applications.iter().find_map(|application| resolve_server(application, bin)) {
        return Ok(Some(line));
    }
    let in_reach = |file: &str| !file.contains('/') || applications.iter().any(|a| a.file == file);
    let programs: Vec<&(String, String)> =
        files.iter().filter(|(file, text)| in_reach(file) && is_program(text)).collect();
    // Frameworks listen on a port of their own unless they are told; a script or a worker does not listen at all.
    let certain = !applications.is_empty() || elsewhere;
    match (choose_program(&programs, certain), applications.first()) {
        (Some(file), _) => Ok(Some(format!("exec python {file}"))),
        (None, Some(application)) => Err(faults::no_server(application)),
        (None, None) => Ok(None),
    }
}

/// The program that serves: one that reads its port; else, where no proof is needed, a likely or the only one.
fn choose_program<'a>(programs: &[&'a (String, String)], certain: bool) -> Option<&'a str> {
    if let Some((file, _)) = programs.iter().find(|(_, text)| names_port(text)) {
        return Some(file);
    }
    let likely = PROGRAMS.iter().find_map(|name| programs.iter().find(|(file, _)| file == name));
    let only = programs.first().filter(|_| programs.len() == 1);
    likely.or(only).filter(|_| !certain).map(|(file, _)| file.as_str())
}

/// Whether a program reads the port that it is given.
fn names_port(text: &str) -> bool {
    text.contains("\"PORT\"") || text.contains("'PORT'")
}

/// The line by which an installed server serves an application.
fn resolve_server(application: &Application, bin: &Path) -> Option<String> {
    let has = |name: &str| bin.join(name).exists();
    let (target, factory) = (&application.target, application.factory);
    let made = if factory { format!("'{target}()'") } else { target.clone() };
    match application.interface {
        Interface::Asgi if has("uvicorn") => {
            let factory = if factory { " --factory" } else { "" };
            Some(format!("exec uvicorn {target}{factory} --host 0.0.0.0 --port $PORT"))
        }
        Interface::Asgi if has("hypercorn") => Some(format!("exec hypercorn {made} --bind 0.0.0.0:$PORT")),
        Interface::Wsgi if has("gunicorn") => {
            Some(format!("exec gunicorn {made} --bind 0.0.0.0:$PORT --threads 8"))
        }
        Interface::Wsgi if has("waitress-serve") => {
            let call = if factory { "--call " } else { "" };
            Some(format!("exec waitress-serve --listen=0.0.0.0:$PORT {call}{target}"))
        }
        _ => None,
    }
}

/// Python files of the root and of the packages in it (or in `src/`), the likely ones first, with their text.
fn candidates(app: &Path) -> Vec<(String, String)> {
    let mut files = python_files(app, "");
    for folder in folders(app) {
        if folder == "src" {
            files.extend(python_files(app, "src/"));
            let inner = folders(&app.join("src"));
            files.extend(inner.iter().flat_map(|inner| python_files(app, &format!("src/{inner}/"))));
        } else {
            files.extend(python_files(app, &format!("{folder}/")));
        }
    }
    let rank = |file: &str| {
        let name = file.rsplit('/').next().unwrap_or(file);
        let likely = LIKELY.iter().position(|likely| *likely == name).unwrap_or(LIKELY.len());
        (file.matches('/').count(), likely, file.to_owned())
    };
    files.sort_by_key(|(file, _)| rank(file));
    files
}

fn python_files(app: &Path, folder: &str) -> Vec<(String, String)> {
    let entries = app.join(folder).read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let python = names.filter(|name| {
        name.strip_suffix(".py").is_some_and(|stem| !stem.starts_with("test_") && !NEVER.contains(&stem))
    });
    let read = |name: String| {
        let bytes =
            std::fs::read(app.join(folder).join(&name)).ok().filter(|bytes| bytes.len() <= MAX_BYTES)?;
        Some((format!("{folder}{name}"), String::from_utf8_lossy(&bytes).into_owned()))
    };
    python.filter_map(read).collect()
}

fn folders(app: &Path) -> Vec<String> {
    let entries = app.read_dir().into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| {
            !name.starts_with('.') && !["tests", "test", "node_modules", "venv"].contains(&&**name)
        })
        .collect();
    names.sort();
    names
}

/// The first application object that a file makes at its outermost level.
fn find_application(file: &str, text: &str) -> Option<Application> {
    let module = module_name(file);
    let made = |line: &str| {
        let (left, right) = line.split_once('=')?;
        let variable = left.split(':').next()?.trim();
        let callee = right.trim_start().split('(').next().filter(|_| right.contains('('))?;
        let interface = interface_of(callee.trim().rsplit('.').next()?)?;
        is_name(variable).then(|| (format!("{module}:{variable}"), interface, false))
    };
    let factory = |line: &str| {
        let name = line.strip_prefix("def ")?.split('(').next()?.trim();
        let interface = if text.contains("FastAPI(") || text.contains("Starlette(") {
            Interface::Asgi
        } else {
            Interface::Wsgi
        };
        let makes = ["Flask(", "FastAPI(", "Starlette("].iter().any(|call| text.contains(call));
        (makes && matches!(name, "create_app" | "make_app"))
            .then(|| (format!("{module}:{name}"), interface, true))
    };
    let outer =
        || text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'));
    let (target, interface, factory) = outer().find_map(made).or_else(|| outer().find_map(factory))?;
    Some(Application { file: file.to_owned(), target, interface, factory })
}

fn interface_of(class: &str) -> Option<Interface> {
    match class {
        "FastAPI" | "Starlette" | "Quart" | "Litestar" | "BlackSheep" | "get_asgi_application" => {
            Some(Interface::Asgi)
        }
        "Flask" | "Bottle" | "Dash" | "get_wsgi_application" | "APIFlask" => Some(Interface::Wsgi),
        _ => None,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A file's name as Python imports it; what lies in `src/` is on the path.
fn module_name(file: &str) -> String {
    let path = file.strip_prefix("src/").unwrap_or(file);
    let path = path.strip_suffix(".py").unwrap_or(path);
    path.strip_suffix("/__init__").unwrap_or(path).replace('/', ".")
}

/// Whether a file does something when it is run.
fn is_program(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("if __name__") && line.contains("__main__"))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
impl Application {
    /// An ASGI application, for tests of the copy.
    pub(crate) fn example(file: &str, target: &str) -> Self {
        Self { file: file.into(), target: target.into(), interface: Interface::Asgi, factory: false }
    }
}
