//! Measures the router against nginx as a proxy, on loopback, before the same backend, in turns.
//!
//! `cargo run --release -p hythe-router --example proxy_ratio [seconds a turn] [rounds]`. Needs `nginx` and `wrk`.
//! Prints requests per second, latencies, processor time a request, and the ratio; exits with 1 where it is below 0.8.

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use hythe_model::{InstanceId, Place, ProcessType, ReleaseNumber, Route, RouteTable, Upstream};
use hythe_router::{Dial, InFlight, NoAccessLog, Router, RouterParts, RouterSettings, serve};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Threads of each proxy: one, so that both are held against one processor.
const WORKERS: usize = 1;
const CONNECTIONS: usize = 32;
const WANTED: f64 = 0.8;

struct Backend(SocketAddr);

#[async_trait]
impl Dial for Backend {
    async fn dial(&self, _: &InstanceId, _: u16) -> io::Result<TcpStream> {
        TcpStream::connect(self.0).await
    }
}

/// A child that ends with this program.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// What one turn of the load generator saw.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    per_second: f64,
    /// Median and 99th percentile, milliseconds.
    latency: (f64, f64),
    /// Processor time of the proxy a request, microseconds.
    processor: f64,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("router") {
        let ports = [arguments.next(), arguments.next()].map(|port| port.and_then(|port| port.parse().ok()));
        let [Some(own), Some(backend)] = ports else { anyhow::bail!("two ports are needed") };
        return router(own, backend);
    }
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let seconds = arguments.next().transpose()?.unwrap_or(4);
    let rounds = arguments.next().transpose()?.unwrap_or(4);
    let folder = tempfile::tempdir()?;
    let (backend, nginx, own) = (free_port()?, free_port()?, free_port()?);
    let _backend = start_nginx(folder.path(), "backend", &backend_config(backend))?;
    let proxy = start_nginx(folder.path(), "proxy", &proxy_config(nginx, backend))?;
    let router = Command::new(std::env::current_exe()?)
        .args(["router".to_owned(), own.to_string(), backend.to_string()])
        .spawn()
        .map(Ended)?;
    for port in [backend, nginx, own] {
        wait_for(port)?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        theirs.push(load(nginx, seconds, proxy.0.id())?);
        ours.push(load(own, seconds, router.0.id())?);
        println!("round {round}  nginx {}  hythe {}", shown(theirs.last()), shown(ours.last()));
    }
    let (nginx, hythe) = (median(&theirs), median(&ours));
    let ratio = hythe.per_second / nginx.per_second;
    println!("median   nginx {}  hythe {}", shown(Some(&nginx)), shown(Some(&hythe)));
    println!("hythe / nginx: {ratio:.2} of the requests per second (wanted: {WANTED} or more)");
    ensure!(ratio >= WANTED, "the router is slower than it should be");
    Ok(())
}

/// The router as a process of its own.
fn router(own: u16, backend: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let instance = InstanceId {
            tool: "bench".parse()?,
            release: ReleaseNumber(1),
            process: ProcessType::web(),
            place: Place::Number(1),
            attempt: 0,
        };
        let upstreams = vec![Upstream { instance, port: 8080 }];
        let route = Route::Live { release: ReleaseNumber(1), upstreams };
        let mut table = RouteTable::default();
        table.set("bench".parse()?, Some(route));
        let (_table, routes) = watch::channel(table);
        let shared = Router::new(RouterParts {
            routes,
            dial: Arc::new(Backend(([127, 0, 0, 1], backend).into())),
            in_flight: InFlight::new(),
            access: Arc::new(NoAccessLog),
            fallback: None,
            settings: RouterSettings::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", own)).await?;
        serve(listener, None, shared, CancellationToken::new()).await?;
        Ok(())
    })
}

fn backend_config(port: u16) -> String {
    format!(
        "server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; \
         location / {{ default_type text/plain; return 200 'Hello from a small backend.\\n'; }} }}"
    )
}

/// Nginx as it is set up for this: connections kept on both sides, the headers that the router sets set as well.
fn proxy_config(port: u16, backend: u16) -> String {
    format!(
        "upstream backend {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 100000000; }}
         server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000;
           location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection '';
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
             proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
             proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id; }} }}"
    )
}

fn start_nginx(folder: &Path, name: &str, servers: &str) -> Result<Ended> {
    let own = folder.join(name);
    fs::create_dir_all(&own)?;
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", own.display()))
        .join(" ");
    let config = format!(
        "daemon off; master_process off; worker_processes {WORKERS}; pid {0}/pid; error_log {0}/error.log;\n\
         events {{ worker_connections 4096; }}\nhttp {{ access_log off; {temporary}\n{servers} }}",
        own.display()
    );
    let file = own.join("nginx.conf");
    fs::write(&file, config)?;
    let nginx = Command::new("nginx").arg("-c").arg(&file).arg("-p").arg(&own).stderr(Stdio::null()).spawn();
    nginx.map(Ended).context("nginx does not start")
}

fn free_port() -> Result<u16> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16) -> Result<()> {
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    anyhow::bail!("nothing listens on port {port}")
}

fn load(port: u16, seconds: u32, proxy: u32) -> Result<Turn> {
    let before = processor_time(proxy)?;
    let output = Command::new("wrk")
        .args(["-t1", "--latency", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
        .args(["-H", "Host: bench.localhost", &format!("http://127.0.0.1:{port}/")])
        .output()
        .context("wrk does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "requests failed:\n{text}");
    let word = |start: &str| {
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(start));
        line.and_then(|rest| rest.split_whitespace().next())
            .with_context(|| format!("no {start} in:\n{text}"))
    };
    let per_second: f64 = word("Requests/sec:")?.parse()?;
    let latency = (millis(word("50%")?)?, millis(word("99%")?)?);
    let requests = per_second * f64::from(seconds);
    Ok(Turn { per_second, latency, processor: (processor_time(proxy)? - before) * 1e6 / requests })
}

/// Seconds of processor time that a process has used.
fn processor_time(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn millis(text: &str) -> Result<f64> {
    let (number, factor) = match text {
        text if text.ends_with("us") => (text.trim_end_matches("us"), 1e-3),
        text if text.ends_with("ms") => (text.trim_end_matches("ms"), 1.0),
        text => (text.trim_end_matches('s'), 1e3),
    };
    Ok(number.parse::<f64>()? * factor)
}

fn median(turns: &[Turn]) -> Turn {
    let mut sorted = turns.to_vec();
    sorted.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn shown(turn: Option<&Turn>) -> String {
    let Turn { per_second, latency, processor } = turn.copied().unwrap_or_default();
    format!(
        "{per_second:8.0} a second, {:.2} ms, 99 % {:.2} ms, {processor:.1} us a request",
        latency.0, latency.1
    )
}
