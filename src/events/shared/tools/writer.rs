//! The one task of a server that writes lines of tools.

use super::segments::{is_due, segments_to_come};
use super::{SharedTools, stored};
use crate::gather::{Batch, Crowd, Part, Source};
use crate::masks::ASKING;
use crate::runtime_log::{Stored, shown};
use crate::{Masker, NewLine};
use futures::StreamExt;
use hythe_model::ToolName;
use hythe_store::{LogBatch, LogLines, SourceMove, StoreError, ToolLines, WrittenLog};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long lines gather.
const MOMENT: Duration = Duration::from_millis(250);
/// Tools of one transaction.
const AT_ONCE: usize = 500;
/// Between two attempts to reach a store that is away.
const AGAIN: Duration = Duration::from_secs(1);
/// How often what the store refuses is tried.
const ATTEMPTS: u32 = 3;

/// Lines that are ready to be written, and their sources.
struct Prepared {
    lines: ToolLines,
    sources: Vec<Arc<Source>>,
}

struct Writer {
    tools: Arc<SharedTools>,
    name: String,
    number: u64,
    /// Takes logs that have become long.
    due: mpsc::Sender<String>,
}

/// Writes what gathers until nobody brings any more.
pub(super) async fn work(tools: Arc<SharedTools>) {
    let due = segments_to_come(tools.clone());
    let name = format!("{:032x}", rand::random::<u128>());
    let mut writer = Writer { tools, name, number: 0, due };
    let gathered = writer.tools.gathered.clone();
    while let Some(batch) = gathered.next(MOMENT).await {
        let number = batch.number();
        writer.write(batch).await;
        gathered.written(number);
    }
}

impl Writer {
    async fn write(&mut self, batch: Batch) {
        let tools = self.tools.clone();
        let prepare = |(tool, crowd)| prepare(&tools, tool, crowd);
        let prepared = futures::stream::iter(batch.tools).map(prepare).buffer_unordered(ASKING);
        let mut rest: Vec<Prepared> = prepared.filter_map(std::future::ready).collect().await;
        while !rest.is_empty() {
            let others = rest.split_off(rest.len().min(AT_ONCE));
            self.send(rest).await;
            rest = others;
        }
    }

    /// Sends lines for as long as it takes. What the store will not have is looked for tool by tool, so that the others' lines are
    /// kept, and left out.
    async fn send(&mut self, prepared: Vec<Prepared>) {
        self.number += 1;
        let (lines, sources): (Vec<_>, Vec<_>) =
            prepared.into_iter().map(|prepared| (prepared.lines, prepared.sources)).unzip();
        let batch = Arc::new(LogBatch { writer: self.name.clone(), number: self.number, tools: lines });
        let mut attempts = 0;
        let error = loop {
            let error = match self.tools.place.store.append_tool_logs(batch.clone()).await {
                Ok(written) => return self.heed(&batch, &sources, written),
                Err(error) => error,
            };
            attempts += u32::from(is_refusal(&error));
            if attempts >= ATTEMPTS {
                break error;
            }
            tracing::warn!(%error, "lines of tools wait for the database");
            tokio::time::sleep(AGAIN).await;
        };
        let lines = Arc::unwrap_or_clone(batch).tools;
        let each = lines.into_iter().zip(sources).map(|(lines, sources)| Prepared { lines, sources });
        let mut each: Vec<_> = each.collect();
        if each.len() > 1 {
            for one in each {
                Box::pin(self.send(vec![one])).await;
            }
        } else if let Some(Prepared { lines, sources }) = each.pop() {
            refuse(&sources);
            tracing::error!(tool = %lines.tool, %error, "lines of a log were lost");
        }
    }

    /// Does what follows from what was written.
    fn heed(&self, batch: &LogBatch, sources: &[Vec<Arc<Source>>], written: Vec<WrittenLog>) {
        let mut written: HashMap<ToolName, WrittenLog> =
            written.into_iter().map(|log| (log.tool.clone(), log)).collect();
        for (lines, sources) in batch.tools.iter().zip(sources) {
            let log = written.remove(&lines.tool);
            for source in sources {
                if log.as_ref().is_none_or(|log| log.refused.contains(&source.instance)) {
                    source.refuse();
                }
            }
            let Some(log) = log else { continue };
            self.tools.masks.note(&log.tool, log.config);
            if is_due(&self.tools.limits, log.before, log.open) {
                // Where there is no room it is due again before long.
                let _ = self.due.try_send(log.log);
            }
        }
    }
}

fn refuse(sources: &[Arc<Source>]) {
    for source in sources {
        source.refuse();
    }
}

/// Whether the store will not have it, however often it is asked.
fn is_refusal(error: &StoreError) -> bool {
    !matches!(error, StoreError::Away { .. } | StoreError::Busy { .. } | StoreError::Unclear { .. })
}

/// Makes a tool's lines ready; `None` where none of them can be stored.
async fn prepare(tools: &SharedTools, tool: ToolName, crowd: Crowd) -> Option<Prepared> {
    let masker = tools.masks.of(&tool, &crowd.printing()).await;
    let (mut parts, mut sources) = (Vec::new(), Vec::new());
    for part in crowd.into_parts() {
        let source = part.read.as_ref().map(|read| read.source.clone());
        let ready = masker.as_ref().filter(|_| source.as_ref().is_none_or(|source| !source.is_refused()));
        match ready.map(|masker| lines(part, masker, tools.limits.line_bytes)) {
            Some(Ok(lines)) => parts.push(lines),
            Some(Err(error)) => {
                tracing::error!(%tool, %error, "lines of a log were lost");
                refuse(source.as_slice());
            }
            None => refuse(source.as_slice()),
        }
        sources.extend(source);
    }
    (!parts.is_empty()).then_some(Prepared { lines: ToolLines { tool, parts }, sources })
}

fn lines(part: Part, masker: &Masker, line_bytes: usize) -> Result<LogLines, serde_json::Error> {
    let text = |line: &NewLine| serde_json::to_string(&Stored::new(0, line));
    let lines = shown(&part.lines, masker, line_bytes).iter().map(text).collect::<Result<_, _>>()?;
    let source = part.read.map(|read| {
        let told = read.ended.map(|ended| serde_json::to_string(&ended)).transpose()?;
        let (name, from) = (read.source.instance.clone(), stored(read.from));
        Ok(SourceMove { name, from, to: stored(read.to).unwrap_or_default(), told })
    });
    Ok(LogLines { lines, source: source.transpose()? })
}
