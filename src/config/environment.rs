//! The environment over the file: `HYTHE_<SECTION>__<SETTING>`.

use crate::{Config, ConfigError};
use hythe_model::mistake::explain;
use toml::{Table, Value};

/// The configuration of a text that was checked before, with the variables laid over it. Empty variables count as unset.
pub(crate) fn overlay(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let fault =
        |what: String| ConfigError::Environment { variable: "HYTHE_*".to_owned(), what, next: String::new() };
    let mut table: Table = toml::from_str(text).map_err(|error| fault(error.message().to_owned()))?;
    let mut variables: Vec<_> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((path(&name)?, name, value)))
        .filter(|(_, _, value)| !value.is_empty())
        .collect();
    variables.sort();
    for (path, name, value) in variables {
        lay(&mut table, &path, &name, &value)?;
    }
    table.try_into().map_err(|error: toml::de::Error| fault(error.message().to_owned()))
}

/// `HYTHE_EGRESS__MIRRORS__PIP` is `egress`, `mirrors`, `pip`; variables without the double line are others'.
fn path(variable: &str) -> Option<Vec<String>> {
    let rest = variable.strip_prefix("HYTHE_")?;
    rest.contains("__").then(|| rest.split("__").map(str::to_lowercase).collect())
}

/// Takes the value as TOML (numbers, lists, truth) where that fits, else as a text.
fn lay(table: &mut Table, path: &[String], name: &str, value: &str) -> Result<(), ConfigError> {
    let parsed =
        toml::from_str::<Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
    let text = Value::String(value.to_owned());
    let mut mistake = String::new();
    for candidate in parsed.into_iter().chain([text]) {
        let mut changed = table.clone();
        if !insert(&mut changed, path, candidate) {
            mistake = String::from("it does not name a setting");
            continue;
        }
        match Config::deserialize_table(changed.clone()) {
            Ok(()) => {
                *table = changed;
                return Ok(());
            }
            Err(error) => mistake = error,
        }
    }
    let section = path[..path.len() - 1].join(".");
    let section = if mistake.contains(&format!("`{}`", path[0])) { "" } else { &section };
    let (what, next) = explain(&mistake, section);
    let next = next.unwrap_or_else(|| "`hythed print-config` lists the settings.".to_owned());
    Err(ConfigError::Environment { variable: name.to_owned(), what, next })
}

fn insert(table: &mut Table, path: &[String], value: Value) -> bool {
    let Some((last, sections)) = path.split_last() else { return false };
    let mut at = table;
    for section in sections {
        let entry = at.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        let Some(next) = entry.as_table_mut() else { return false };
        at = next;
    }
    at.insert(last.clone(), value);
    true
}

impl Config {
    fn deserialize_table(table: Table) -> Result<(), String> {
        table.try_into::<Self>().map(|_| ()).map_err(|error| error.message().to_owned())
    }
}
