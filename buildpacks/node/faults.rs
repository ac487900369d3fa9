//! What users of Node.js can put right, in written words.
//!
//! [`of_npm`] reads npm's own output. Ids are stable; the copy is snapshot-tested with recorded output.

use crate::project::Project;
use hythe_buildpack::{Fault, suggest};
use node_semver::Version;
use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// Names of packages that people often mean.
const COMMON: &[&str] = &[
    "axios",
    "body-parser",
    "chalk",
    "commander",
    "compression",
    "connect",
    "cookie-parser",
    "cors",
    "debug",
    "dotenv",
    "ejs",
    "express",
    "express-session",
    "fastify",
    "got",
    "handlebars",
    "helmet",
    "http-proxy",
    "joi",
    "jsonwebtoken",
    "koa",
    "lodash",
    "marked",
    "mime",
    "moment",
    "mongodb",
    "mongoose",
    "morgan",
    "ms",
    "multer",
    "mysql2",
    "nanoid",
    "next",
    "node-fetch",
    "nodemailer",
    "passport",
    "pg",
    "pino",
    "prisma",
    "pug",
    "react",
    "react-dom",
    "redis",
    "request",
    "sequelize",
    "serve",
    "sharp",
    "socket.io",
    "sqlite3",
    "svelte",
    "tslib",
    "typescript",
    "undici",
    "uuid",
    "vite",
    "vue",
    "winston",
    "ws",
    "yargs",
    "zod",
];

/// Turns the output of an npm that failed into a fault.
pub(crate) fn of_npm(lines: &[String]) -> Fault {
    let context = Context { lines };
    let code = context.after("npm error code ").unwrap_or_default();
    match code {
        "EUSAGE" if context.has("in sync") => out_of_sync(&context),
        "E404" => not_found(&context),
        "ETARGET" => no_version(&context),
        "ERESOLVE" => conflict(&context),
        "EBADENGINE" => bad_engine(&context),
        "EUNSUPPORTEDPROTOCOL" => unsupported_protocol(&context),
        "EINTEGRITY" => integrity(&context),
        "ENOTFOUND" | "ECONNREFUSED" | "ETIMEDOUT" | "ECONNRESET" | "EAI_AGAIN" => {
            unreachable_registry(&context)
        }
        _ if context.has("gyp ERR!") || context.has("npm error command failed") => {
            failed_install_script(&context)
        }
        _ => Fault::new("node/install-failed", "The build failed: npm could not install the packages.")
            .why_lines(context.errors())
            .next("Try the same here: npm ci"),
    }
}

struct Context<'a> {
    lines: &'a [String],
}

impl Context<'_> {
    fn after(&self, words: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.split_once(words).map(|(_, rest)| rest.trim()))
    }

    fn has(&self, words: &str) -> bool {
        self.lines.iter().any(|line| line.contains(words))
    }

    /// npm's own last errors, without their mark and the pointer to its log.
    fn errors(&self) -> Vec<String> {
        let errors = self.lines.iter().filter_map(|line| line.strip_prefix("npm error"));
        let told = errors.map(|line| shorten(line.trim())).filter(|line| {
            !line.is_empty() && !line.contains("complete log of this run") && !line.contains("-debug-0.log")
        });
        let told: Vec<String> = told.collect();
        let shown = if told.is_empty() { self.lines.to_vec() } else { told };
        shown[shown.len().saturating_sub(6)..].to_vec()
    }
}

fn out_of_sync(context: &Context<'_>) -> Fault {
    let told = ["npm error Missing: ", "npm error Invalid: "];
    let differs = context.lines.iter().filter(|line| told.iter().any(|start| line.starts_with(start)));
    let differs: Vec<String> = differs.take(5).map(|line| line["npm error ".len()..].to_owned()).collect();
    Fault::new(
        "node/lockfile-out-of-sync",
        "The build failed: package.json and package-lock.json do not agree.",
    )
    .why_lines(differs)
    .next("Run: npm install && git add package-lock.json && git commit")
}

fn not_found(context: &Context<'_>) -> Fault {
    let quoted = context
        .lines
        .iter()
        .find_map(|line| line.split('\'').nth(1).filter(|_| line.contains("could not be found")));
    let package = quoted.or_else(|| context.after("Not Found - GET ")).unwrap_or("a package");
    let name =
        package.char_indices().rfind(|(i, c)| *i > 0 && *c == '@').map_or(package, |(i, _)| &package[..i]);
    let hint = suggest(name, COMMON.iter().copied())
        .map(|guess| format!(" Did you mean {guess}?"))
        .unwrap_or_default();
    Fault::new("node/package-not-found", "The build failed: a package of package.json cannot be found.")
        .why(format!("{package} is not in the npm registry, or it is private.{hint}"))
}

fn no_version(context: &Context<'_>) -> Fault {
    let package = context.after("No matching version found for ").unwrap_or("a package");
    let package = package.trim_end_matches('.');
    let name =
        package.char_indices().rfind(|(i, c)| *i > 0 && *c == '@').map_or(package, |(i, _)| &package[..i]);
    Fault::new(
        "node/version-not-found",
        "The build failed: a version that package.json asks for does not exist.",
    )
    .why(format!("{package} is not in the npm registry."))
    .next(format!("See which there are: npm view {name} versions"))
}

fn conflict(context: &Context<'_>) -> Fault {
    let told = ["While resolving:", "Found:", "Could not resolve dependency:", "peer "];
    let lines = context.lines.iter().filter_map(|line| line.strip_prefix("npm error "));
    let lines = lines.filter(|line| told.iter().any(|start| line.trim_start().starts_with(start)));
    Fault::new("node/conflict", "The build failed: the packages do not go together.")
        .why_lines(lines.take(5).map(|line| shorten(line.trim())))
        .next("Change one of these versions in package.json, then run: npm install")
}

fn bad_engine(context: &Context<'_>) -> Fault {
    Fault::new("node/engine", "The build failed: a package does not run on this version of Node.js.")
        .why_lines(context.errors())
        .next("Ask for another version of Node.js: \"engines\": {\"node\": \"22\"} in package.json")
}

fn integrity(context: &Context<'_>) -> Fault {
    Fault::new(
        "node/hash-mismatch",
        "The build failed: a package is not the one that package-lock.json names.",
    )
    .why_lines(context.errors())
    .next("Find out why the package on the registry was changed before you make the lockfile anew.")
}

fn unreachable_registry(context: &Context<'_>) -> Fault {
    Fault::new("node/registry-unreachable", "The build failed: the npm registry does not answer.")
        .why_lines(
            context.after("npm error FetchError: ").or(context.after("npm error network ")).map(shorten),
        )
        .next(
            "Push again in a while. If it stays so, tell the operator: builds may need a mirror or a proxy.",
        )
}

fn failed_install_script(context: &Context<'_>) -> Fault {
    let path = context.after("npm error path ").unwrap_or_default();
    let name = path.rsplit_once("node_modules/").map_or("a package", |(_, name)| name);
    let telling = |line: &&String| ["error:", "Error:", "not found"].iter().any(|words| line.contains(words));
    let reasons: Vec<String> =
        context.lines.iter().filter(telling).take(3).map(|line| shorten(line.trim())).collect();
    Fault::new("node/install-script-failed", "The build failed: a package's own install script failed.")
        .why(format!("{name}:"))
        .why_lines(if reasons.is_empty() { context.errors() } else { reasons })
        .next(format!("Try another version of {name}: it may come ready-made for this version of Node.js."))
}

fn unsupported_protocol(context: &Context<'_>) -> Fault {
    let wish = context
        .lines
        .iter()
        .find_map(|line| line.split_once("Unsupported URL Type ")?.1.split("\": ").nth(1));
    workspaces_unsupported("A package", wish.unwrap_or("workspace:"))
}

/// A wish in the words of another package manager.
pub(crate) fn workspaces_unsupported(name: &str, wish: &str) -> Fault {
    Fault::new(
        "node/workspaces-unsupported",
        "The build failed: workspaces of pnpm and yarn are not supported yet.",
    )
    .why(format!("{name} is asked for as `{}`, which npm does not know.", shorten(wish)))
    .next("For a package of this repository, name its folder: \"file:./packages/its-name\".")
    .next("For any other, name its version, then run: npm install")
}

/// Turns the output of an npm that did not bring Node.js itself into a fault.
pub(crate) fn of_runtime(lines: &[String], package: &str) -> Fault {
    match (Context { lines }).after("npm error code ") {
        Some("E404" | "ETARGET") => Fault::new(
            "node/runtime-not-found",
            "The build failed: the version of Node.js that is asked for cannot be downloaded.",
        )
        .why(format!("The npm registry that builds use has no {package}."))
        .next("Change \"engines\" in package.json, or take it out: the stack's version is used then.")
        .next("If it should be there, tell the operator: builds may use a mirror that lacks it."),
        _ => of_npm(lines),
    }
}

/// The source's own `build` script.
pub(crate) fn build_script_failed(lines: &[String]) -> Fault {
    let own: Vec<&String> =
        lines.iter().filter(|line| !line.starts_with("npm error") && !line.is_empty()).collect();
    Fault::new("node/build-script-failed", "The build failed: the build script of package.json failed.")
        .why_lines(own[own.len().saturating_sub(8)..].iter().map(|line| shorten(line)))
        .next("Try the same here: npm ci && npm run build")
}

/// No script and no file that could be started.
pub(crate) fn no_start_script(project: &Project) -> Fault {
    let names: Vec<&str> = project.scripts.keys().map(String::as_str).collect();
    let seen = if names.is_empty() {
        "It has no scripts".to_owned()
    } else {
        format!("Its scripts are {}", names.join(", "))
    };
    Fault::new("node/no-start-script", "The build failed: package.json does not say how the tool is started.")
        .why(format!("{seen}; there is no server.js either."))
        .next("Add a script: \"scripts\": {\"start\": \"node index.js\"}")
        .next("Or name the command in a Procfile, as in `web: node index.js`.")
}

/// A package.json that is no JSON.
pub(crate) fn package_json_invalid(error: &serde_json::Error) -> Fault {
    Fault::new("node/package-json-invalid", "The build failed: package.json cannot be read.")
        .why(format!("{error}."))
        .next("Look at it with: node -e \"require('./package.json')\"")
}

/// A version of Node.js that cannot be understood.
pub(crate) fn version_invalid(version: &str, file: &str) -> Fault {
    Fault::new(
        "node/version-invalid",
        format!("The build failed: the version of Node.js in {file} cannot be read."),
    )
    .why(format!("`{}` is not a version or a range.", shorten(version)))
    .next("Write it as 24, 24.x or >=22.")
}

/// A version of Node.js that is nowhere to be had.
pub(crate) fn version_unavailable(wanted: &str, stack: &str, versions: &[Version]) -> Fault {
    let majors: BTreeSet<u64> = versions.iter().map(|version| version.major).collect();
    let newest: Vec<String> = majors.iter().rev().take(6).map(u64::to_string).collect();
    Fault::new("node/version-unavailable", format!("The build failed: there is no Node.js {wanted}."))
        .why(format!("The stack has {stack}; the npm registry has the lines {}.", newest.join(", ")))
        .next("Change \"engines\" in package.json, or take it out: the stack's version is used then.")
}

fn shorten(line: &str) -> String {
    let mut short: String = line.chars().take(200).collect();
    if short.len() < line.len() {
        short.push_str(" ...");
    }
    short
}
