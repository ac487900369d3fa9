//! A server that says what a test wants, and a home from which the program is run.
//!
//! Every request is held against the API's own `OpenAPI` document, so that the program cannot ask what the API does not
//! have.

use hythe_api::types::{FromClient, FromServer, RUN_PROTOCOL};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The API's document, as its own test holds it.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let snapshot = include_str!("../../../api/tests/snapshots/document__openapi.snap");
    let json = snapshot.splitn(3, "---\n").nth(2).expect("a snapshot with a head");
    serde_json::from_str(json).expect("the document is JSON")
});

/// One answer: status and body.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    body: String,
    /// Cut the connection off before the body's announced end.
    cut: bool,
    /// What is said over a WebSocket, once the command runs and its input has ended.
    frames: Option<Vec<FromServer>>,
}

/// An answer with this body.
pub(crate) fn answer(body: &impl serde::Serialize) -> Answer {
    Answer { body: serde_json::to_string(body).expect("JSON"), ..nothing().status(200) }
}

/// An answer of JSON lines.
pub(crate) fn lines<T: serde::Serialize>(objects: &[T]) -> Answer {
    let lines = objects.iter().map(|object| serde_json::to_string(object).expect("JSON") + "\n");
    // Empty lines keep a connection open and mean nothing.
    Answer { body: format!("\n{}", lines.collect::<String>()), ..nothing().status(200) }
}

/// A command that reads its input to the end, and then says this.
pub(crate) fn attached(frames: &[FromServer]) -> Answer {
    Answer { frames: Some(frames.to_vec()), ..nothing().status(101) }
}

/// An answer without a body.
pub(crate) fn nothing() -> Answer {
    Answer { status: 204, body: String::new(), cut: false, frames: None }
}

impl Answer {
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn cut_off(mut self) -> Self {
        self.cut = true;
        self
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) token: Option<String>,
    /// What it asked over a WebSocket.
    key: Option<String>,
    /// What was sent; over a WebSocket the frame that starts the command and its input.
    pub(crate) body: Value,
}

/// The server and the home.
pub(crate) struct Stage {
    pub(crate) home: tempfile::TempDir,
    pub(crate) url: String,
    answers: Arc<Mutex<VecDeque<(String, Answer)>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Held while a connection is served.
    serving: Arc<Mutex<()>>,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Everything that a user sees, for a snapshot.
    pub(crate) fn shown(&self) -> String {
        let mut text = self.out.clone();
        if !self.err.is_empty() {
            text.extend(["--- standard error\n", &self.err]);
        }
        if self.code != 0 {
            text.extend(["--- exit code ", &self.code.to_string(), "\n"]);
        }
        text
    }
}

impl Stage {
    /// A server that gives these answers in this order, each to the request line `METHOD /path`.
    pub(crate) fn new<const N: usize>(answers: [(&str, Answer); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers = answers.into_iter().map(|(line, answer)| (line.to_owned(), answer)).collect();
        let stage = Self {
            home: tempfile::tempdir().expect("a folder"),
            url,
            answers: Arc::new(Mutex::new(answers)),
            seen: Arc::default(),
            serving: Arc::default(),
        };
        let (answers, seen, serving) = (stage.answers.clone(), stage.seen.clone(), stage.serving.clone());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let _serving = serving.lock().expect("no panic");
                serve(connection, &answers, &seen);
            }
        });
        stage
    }

    /// The program with its arguments, logged in to the server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(args);
        command.env("HYTHE_URL", &self.url).env("HYTHE_TOKEN", "hythe_secret");
        command
    }

    /// The program with its arguments and nothing else.
    pub(crate) fn bare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hythe"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path()).env("TZ", "UTC").env("GIT_CONFIG_GLOBAL", "/dev/null");
        // Nothing above the home is to be taken for a git folder.
        command.env("GIT_CEILING_DIRECTORIES", self.home.path().parent().expect("a parent"));
        command.current_dir(self.home.path()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs the program, logged in.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        finish(&mut self.command(args), "")
    }

    /// Runs the program, logged in, with this on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        finish(&mut self.command(args), input)
    }

    /// What was asked so far, by conversations that are over: a program may end before what it said last has been heard.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let _served = self.serving.lock().expect("no panic");
        self.seen.lock().expect("no panic").clone()
    }

    /// The file that `hythe login` writes.
    pub(crate) fn settings(&self) -> PathBuf {
        self.home.path().join(".config/hythe/config.toml")
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command, input: impl AsRef<[u8]>) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(input.as_ref());
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

type Answers = Mutex<VecDeque<(String, Answer)>>;

/// Answers one request and closes the connection.
pub(crate) fn serve(stream: impl Read + Write, answers: &Answers, seen: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    let Some(request) = read(&mut reader) else { return };
    seen.lock().expect("no panic").push(request.clone());
    let next = answers.lock().expect("no panic").pop_front();
    let answer = match next {
        Some((line, answer)) if line == request.line && described(&line) => answer,
        other => {
            let wanted = other.map(|(line, _)| line);
            let what = format!("The test expected {wanted:?}, and got {}.", request.line);
            let body = serde_json::json!({"id": "test/unexpected", "what": what}).to_string();
            Answer { body, ..nothing().status(500) }
        }
    };
    if let (Some(frames), Some(key)) = (&answer.frames, &request.key) {
        let said = converse(reader.into_inner(), key, frames);
        if let Some(last) = seen.lock().expect("no panic").last_mut() {
            last.body = said;
        }
        return;
    }
    let length = answer.body.len() + usize::from(answer.cut) * 100;
    let head = format!(
        "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        answer.status
    );
    let mut stream = reader.into_inner();
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.body.as_bytes()));
    let _ = stream.flush();
}

/// Speaks WebSocket until the client closes it; what it asked for and sent.
fn converse(mut stream: impl Read + Write, key: &str, frames: &[FromServer]) -> Value {
    let head = format!(
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\
         Sec-WebSocket-Protocol: {RUN_PROTOCOL}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.flush()).expect("an answer");
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let (mut start, mut input, mut taken) = (Value::Null, Vec::new(), 0);
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => match FromClient::decode(&bytes).expect("a frame") {
                FromClient::Start(attach) => {
                    start = json!(attach);
                    say(&mut socket, &FromServer::Started);
                }
                FromClient::Input(bytes) => input.extend(bytes),
                FromClient::End => frames.iter().for_each(|frame| say(&mut socket, frame)),
                FromClient::Taken(count) => taken += count,
                other => panic!("{other:?}"),
            },
            Ok(_) => {}
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    json!({ "start": start, "input": String::from_utf8(input).expect("text"), "taken": taken })
}

fn say(socket: &mut WebSocket<impl Read + Write>, frame: &FromServer) {
    // A client may go away before it has heard everything.
    let _ = socket.send(Message::binary(frame.encode()));
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let line = line.trim_end().strip_suffix(" HTTP/1.1")?.to_owned();
    let (mut length, mut token, mut key) = (0, None, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "sec-websocket-key" => key = Some(value.to_owned()),
            "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { line, token, key, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// Whether the API's document has this method and path, and these parameters.
fn described(line: &str) -> bool {
    let (method, url) = line.split_once(' ').expect("a request line");
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let segments: Vec<_> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<_> = template.split('/').collect();
        template.len() == segments.len()
            && template.iter().zip(&segments).all(|(known, given)| known == given || known.starts_with('{'))
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let mut operations =
        paths.iter().filter(|(template, _)| fits(template)).map(|(_, item)| &item[method.to_lowercase()]);
    operations.any(|operation| {
        let known = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let known = |name: &str| known.iter().any(|parameter| parameter["name"] == name);
        operation.is_object()
            && query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .all(|pair| known(pair.split('=').next().unwrap_or_default()))
    })
}
