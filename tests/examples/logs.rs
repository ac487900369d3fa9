//! Measures runtime logs that several servers share: lines a second, and what 1,000 tools cost that print a line a second each.
//!
//! A database server of its own, which waits for the disk as a real one does, and a folder for objects; the lines come as those of
//! pods do.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use hythe_events::{InstanceLines, LinePlace, LogLimits, LogQuery, LogStore, SharedPlace};
use hythe_model::ToolName;
use hythe_objects::SharedFolder;
use hythe_store::Store;
use hythe_testing::Postgres;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A line of a usual length.
const TEXT: &str = "GET /api/v1/observations?station=10384&from=2026-11-21 200 in 12 ms, 48 rows of 1,204";
const TOOLS: u32 = 1000;
const SECONDS: u32 = 30;

#[tokio::main]
async fn main() -> Result<()> {
    let rows = Postgres::start();
    rows.sql("postgres", "ALTER SYSTEM SET fsync = on");
    rows.sql("postgres", "SELECT pg_reload_conf()");
    let url = rows.database();
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("objects"))?;
    let store = Store::open(hythe_store::Database::postgres(&url)).await?;
    let logs = server(folder.path(), "one", &store)?;
    for number in 0..TOOLS {
        store.create_tool(&name(number)?, None).await?;
    }
    for tools in [1, 10, 50] {
        let (lines, took) = as_fast_as_it_goes(&logs, tools).await?;
        println!("{tools} tools without a pause: {:.0} lines/s", f64::from(lines) / took.as_secs_f64());
    }
    many(&rows, &url, &logs, &server(folder.path(), "two", &store)?).await
}

fn server(folder: &Path, name: &str, store: &Store) -> Result<LogStore> {
    let place =
        SharedPlace { store: store.clone(), objects: Arc::new(SharedFolder::open(folder.join("objects"))?) };
    Ok(LogStore::open_shared(folder.join(name), LogLimits::default(), place)?)
}

fn name(number: u32) -> Result<ToolName> {
    Ok(format!("tool{number}").parse()?)
}

async fn begin(logs: &LogStore, number: u32, instance: &str) -> Result<InstanceLines> {
    logs.read_instance(&name(number)?, instance, None).await?.context("it is wanted")
}

fn place(number: u32) -> LinePlace {
    LinePlace { time: Timestamp::now(), count: number.into() }
}

/// Lines that were stored, of so many tools that print as fast as they are let, and in which time.
async fn as_fast_as_it_goes(logs: &LogStore, tools: u32) -> Result<(u32, Duration)> {
    let (begun, instance) = (Instant::now(), format!("v{tools}.web.1"));
    let mut printing = tokio::task::JoinSet::new();
    for tool in 0..tools {
        let mut lines = begin(logs, tool, &instance).await?;
        printing.spawn(async move {
            let mut count = 0;
            while begun.elapsed() < Duration::from_secs(5) {
                count += 1;
                anyhow::ensure!(
                    lines.take(place(count), TEXT.as_bytes(), true).await,
                    "a line was not taken"
                );
            }
            anyhow::ensure!(lines.finish().await, "the lines were not kept");
            Ok(count)
        });
    }
    let mut lines = 0;
    while let Some(count) = printing.join_next().await {
        lines += count??;
    }
    Ok((lines, begun.elapsed()))
}

/// A thousand tools print a line a second each; a follower of one at another server sees how late its lines come.
async fn many(rows: &Postgres, url: &str, logs: &LogStore, other: &LogStore) -> Result<()> {
    let mut instances = Vec::new();
    for tool in 0..TOOLS {
        instances.push(begin(logs, tool, "v1000.web.1").await?);
    }
    let query = LogQuery {
        follow: true,
        tail: Some(0),
        instance: Some("v1000.web.1".to_owned()),
        ..LogQuery::default()
    };
    let mut follow = other.lines(&name(7)?, query);
    let follower = tokio::spawn(async move {
        let mut late = Vec::new();
        while late.len() < SECONDS as usize
            && let Some(line) = follow.try_next().await?
        {
            late.push(Timestamp::now().duration_since(line.at).as_millis());
        }
        late.sort_unstable();
        anyhow::Ok(late)
    });
    let wal = || rows.sql(url, "SELECT pg_current_wal_lsn() - '0/0'").parse::<f64>();
    let transactions = "SELECT sum(xact_commit) FROM pg_stat_database";
    let (cpu, written, committed) = (cpu(rows)?, wal()?, rows.sql(url, transactions).parse::<f64>()?);
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for turn in 0..SECONDS {
        for lines in &mut instances {
            ticks.tick().await;
            anyhow::ensure!(lines.take(place(turn + 1), TEXT.as_bytes(), true).await, "a line was not taken");
        }
    }
    logs.settled().await;
    let seconds = begun.elapsed().as_secs_f64();
    let late = follower.await??;
    println!(
        "{TOOLS} tools, a line a second each, for {seconds:.0} s: PostgreSQL {:.1} % of a core, {:.2} MB/s written, {:.1} transactions/s",
        (self::cpu(rows)? - cpu) / seconds * 100.0,
        (wal()? - written) / seconds / 1e6,
        (rows.sql(url, transactions).parse::<f64>()? - committed) / seconds,
    );
    println!(
        "a follower at another server: {} ms late in the middle, {} ms at most",
        late[late.len() / 2],
        late[late.len() - 1]
    );
    let size = "SELECT pg_size_pretty(pg_database_size(current_database()))";
    println!("the database has {}", rows.sql(url, size));
    Ok(())
}

/// Seconds of CPU that the database server has used.
fn cpu(rows: &Postgres) -> Result<f64> {
    let pid = std::fs::read_to_string(rows.folder().join("data/postmaster.pid"))?;
    let server: i32 = pid.lines().next().context("a process")?.parse()?;
    let mut ticks = 0.0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field =
            |number: usize| fields.get(number).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        let is_server = entry.file_name().to_str() == Some(&server.to_string());
        if is_server || fields.get(1) == Some(&server.to_string().as_str()) {
            ticks += field(11) + field(12) + if is_server { field(13) + field(14) } else { 0.0 };
        }
    }
    // The kernel counts in hundredths of a second.
    Ok(ticks / 100.0)
}
