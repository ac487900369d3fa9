//! Logs as their readers see them, over restarts, rotations and full files.

mod builds;
mod instances;
mod runtime;
mod shared;
mod shared_tools;

use crate::*;
use futures::{StreamExt, TryStreamExt};
use hythe_model::{BuildEvent, BuildId, Fault, Phase, ToolName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn small() -> LogLimits {
    LogLimits { build_bytes: 4_000, tool_bytes: 256 << 10, line_bytes: 1_000 }
}

/// A folder of logs, with one of the tool `weather`.
fn open(dir: &Path) -> LogStore {
    open_with(dir, LogLimits::default())
}

fn open_small(dir: &Path) -> LogStore {
    open_with(dir, small())
}

fn open_with(dir: &Path, limits: LogLimits) -> LogStore {
    let store = LogStore::open(dir, limits).expect("a folder of logs");
    store.begin_tool(&weather());
    store
}

/// Has this value masked in lines of any tool.
fn mask(store: &LogStore, value: &str) {
    let masker = Masker::new([value]).unwrap();
    let answer = move || Ok(Some(masker.clone()));
    store.mask_by(Arc::new(move |_, _| Box::pin(std::future::ready(answer()))));
}

/// Appends a line at once; its position.
fn append(store: &LogStore, instance: &str, source: LineSource, text: &str) -> u64 {
    let (instance, text) = (instance.to_owned(), text.to_owned());
    let line = NewLine { at: jiff::Timestamp::now(), instance, source, text };
    store.append_own(&weather(), &[line], &Masker::default()).expect("writable")
}

fn weather() -> ToolName {
    "weather".parse().expect("a tool name")
}

fn output(line: &str) -> BuildEvent {
    BuildEvent::Output { phase: Phase::Build, line: line.to_owned() }
}

fn live() -> BuildEvent {
    BuildEvent::Live { release: "v1".to_owned(), url: "http://weather.localhost".to_owned(), millis: 8100 }
}

async fn texts(store: &LogStore, query: LogQuery) -> Vec<String> {
    let lines: Vec<LogLine> = store.lines(&weather(), query).try_collect().await.expect("readable");
    lines.into_iter().map(|line| line.text).collect()
}

/// Waits until the tool's log has this many lines, or gives up.
async fn wait_for(store: &LogStore, count: usize) -> Vec<String> {
    for _ in 0..500 {
        let seen = texts(store, LogQuery::default()).await;
        if seen.len() >= count {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    texts(store, LogQuery::default()).await
}
