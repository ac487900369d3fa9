//! `/tools/{tool}/config`.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::{Body, InTool, Query};
use super::stream;
use crate::types::{ConfigEntry, ConfigPatch, Progress};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use hythe_auth::Action;
use hythe_pipeline::ConfigChange;
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::collections::BTreeSet;
use utoipa::IntoParams;

/// What of a tool's config.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The values too; they want a right of their own.
    #[serde(default)]
    values: bool,
}

/// The config in force: keys, where they are seen and, if asked for, values.
#[utoipa::path(get, path = "/tools/{tool}/config", tag = "config", operation_id = "list_config", params(("tool" = String, Path), Wanted), responses((status = 200, description = "Done", body = [ConfigEntry]), Refused))]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Query(Wanted { values }): Query<Wanted>,
) -> Result<Json<Vec<ConfigEntry>>, ApiError> {
    if !values {
        caller.may(Action::ToolRead, Some(&tool)).await?;
        let version = api.platform().current_config(&tool).await?;
        let rows = api.platform().store().config(&tool, version).await?;
        let bare =
            rows.into_iter().map(|row| ConfigEntry { key: row.key, scope: row.scope.into(), value: None });
        return Ok(Json(bare.collect()));
    }
    caller.may(Action::ConfigRead, Some(&tool)).await?;
    let entries = api.platform().config(&tool).await?.into_iter().map(|entry| ConfigEntry {
        value: Some(entry.value.expose_secret().to_owned()),
        key: entry.key,
        scope: entry.scope.into(),
    });
    Ok(Json(entries.collect()))
}

/// Sets and unsets keys, together or not at all, and releases the change where something is deployed.
#[utoipa::path(patch, path = "/tools/{tool}/config", tag = "config", operation_id = "change_config", params(("tool" = String, Path)), request_body = ConfigPatch, responses((status = 200, description = "Done", body = Progress, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn change(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Body(patch): Body<ConfigPatch>,
) -> Result<Response, ApiError> {
    caller.may(Action::ConfigWrite, Some(&tool)).await?;
    let changes = changes(patch)?;
    let platform = api.platform().clone();
    let work = async move { platform.change_config(&caller.actor, &tool, changes).await };
    stream::progress(api.work(), api.images(), work).await
}

fn changes(patch: ConfigPatch) -> Result<Vec<ConfigChange>, ApiError> {
    let mut keys = BTreeSet::new();
    let named = patch.set.iter().map(|entry| &entry.key).chain(&patch.unset);
    for key in named {
        if !keys.insert(key.clone()) {
            let key: String = key.chars().take(60).collect();
            return Err(ApiError::new("config", format!("`{key}` is named twice.")));
        }
    }
    if keys.is_empty() {
        return Err(ApiError::new("config", "No key was named.").next("As in: hythe config set KEY=VALUE"));
    }
    let set = patch.set.into_iter().map(|entry| ConfigChange::Set {
        key: entry.key,
        value: entry.value.into(),
        scope: entry.scope.into(),
    });
    let unset = patch.unset.into_iter().map(|key| ConfigChange::Unset { key });
    Ok(set.chain(unset).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ConfigScope, ConfigSet};

    #[test]
    fn a_change_names_each_key_once() {
        let set = |key: &str| ConfigSet { key: key.into(), value: "v".into(), scope: ConfigScope::Run };
        let patch = |set: Vec<ConfigSet>, unset: &[&str]| ConfigPatch {
            set,
            unset: unset.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(changes(patch(vec![set("A")], &["B"])).unwrap().len(), 2);
        assert!(changes(patch(vec![], &[])).is_err());
        assert!(changes(patch(vec![set("A"), set("A")], &[])).is_err());
        assert!(changes(patch(vec![set("A")], &["A"])).is_err());
    }
}
