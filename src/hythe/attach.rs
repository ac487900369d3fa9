//! A command that runs on the platform, attached to this program's own streams.
//!
//! Enter at [`run`]. `connection` opens the WebSocket and writes to it, `books` knows who may send how much, `screen` prints,
//! `terminal` holds this machine's terminal in raw mode and puts it back.

mod books;
mod connection;
mod screen;
mod signals;
mod terminal;

pub(crate) use terminal::{is_ours, ours};

use crate::client::{Client, unexpected};
use crate::failure::{Code, Failure};
use crate::output;
use books::Books;
use connection::{Ear, Mouth};
use hythe_api::types::{Attach, FromClient, FromServer, RunLine};
use hythe_model::{Fault, Signal, ToolName};
use screen::Screen;
use signals::{Signals, Woken};
use std::time::Duration;
use terminal::Raw;
use tokio::io::{AsyncReadExt, Stdin};
use tokio::time::{Instant, sleep_until, timeout};

/// How long the server may say nothing; it asks every 15 s.
const SILENCE: Duration = Duration::from_mins(1);
/// How long what has come may take to be printed, after a session that did not end as it should.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Most bytes of input in a frame.
const PIECE: usize = 16 << 10;

/// Runs a command to its end; the exit code is the command's.
pub(crate) async fn run(client: &Client, tool: &ToolName, attach: Attach, json: bool) -> Result<(), Failure> {
    let on_terminal = attach.terminal.is_some();
    let mut signals = Signals::listen(on_terminal)?;
    let (ear, mouth) = tokio::select! {
        opened = connection::open(client, tool) => opened?,
        signal = signals.ending() => return Err(given_up(signal)),
    };
    let mut session = Session {
        ear,
        mouth,
        signals,
        books: Books::new(FromClient::Start(attach)),
        screen: Screen::start(json),
        stdin: None,
        raw: None,
        on_terminal,
        asked: false,
    };
    let ended = session.talk().await;
    // First of all, so that whatever is said next is said on a terminal as it was.
    session.raw = None;
    let told = match &ended {
        Ok(_) => session.screen.finish().await,
        // Who has given up, or lost the server, does not wait for a reader that may have stopped.
        Err(_) => timeout(LAST_WORDS, session.screen.finish()).await.unwrap_or(Ok(())),
    };
    let last = ended?;
    told?;
    finished(last, json)
}

/// What the last frame means for this program.
fn finished(last: FromServer, json: bool) -> Result<(), Failure> {
    let (line, ended) = match last {
        FromServer::Exit(0) => (RunLine::Exit { code: 0 }, Ok(())),
        FromServer::Exit(code) => {
            (RunLine::Exit { code }, Err(Failure::Exit(u8::try_from(code).unwrap_or(1))))
        }
        FromServer::Failed(fault) => {
            (RunLine::Failed { fault: fault.clone() }, Err(Failure::Fault(Code::Failed, fault)))
        }
        _ => return Err(lost("The last frame was none that ends a session.")),
    };
    if json {
        output::object_line(&serde_json::json!(line))?;
    }
    ended
}

/// The user has given up.
fn given_up(signal: Signal) -> Failure {
    Failure::Exit(u8::try_from(128 + signal.number()).unwrap_or(1))
}

fn lost(why: impl Into<String>) -> Failure {
    let fault =
        Fault::new("client/connection-lost", "The connection to the server was lost; the command ends.")
            .why(why);
    Failure::Fault(Code::Unreachable, fault)
}

struct Session {
    ear: Ear,
    mouth: Mouth,
    signals: Signals,
    books: Books,
    screen: Screen,
    /// This program's input, while it is read.
    stdin: Option<Stdin>,
    /// This machine's terminal, while it is the command's.
    raw: Option<Raw>,
    on_terminal: bool,
    /// Whether the command was asked to end.
    asked: bool,
}

impl Session {
    /// Carries both ways until the last frame.
    async fn talk(&mut self) -> Result<FromServer, Failure> {
        let mut piece = vec![0; PIECE];
        let mut silent = Instant::now() + SILENCE;
        loop {
            let read = self.books.has_room();
            tokio::select! {
                message = self.ear.hear() => {
                    silent = Instant::now() + SILENCE;
                    let Some(message) = message.map_err(lost)? else { continue };
                    let frame = FromServer::decode(&message).map_err(|error| unexpected(&error))?;
                    if let Some(last) = self.hear(frame)? {
                        return Ok(last);
                    }
                }
                room = self.mouth.clone().room(), if self.books.has_to_say() => {
                    let room = room.map_err(lost)?;
                    if let Some(frame) = self.books.say() {
                        room.send(&frame);
                    }
                }
                count = next(self.stdin.as_mut(), &mut piece), if read => match count {
                    Ok(0) | Err(_) => {
                        self.stdin = None;
                        self.books.end_input();
                    }
                    Ok(count) => self.books.put_input(&piece[..count]),
                },
                taken = self.screen.taken() => self.books.took(taken?),
                woken = self.signals.next() => self.wake(woken)?,
                () = sleep_until(silent) => return Err(lost("It said nothing for a minute.")),
            }
        }
    }

    /// Takes a frame; the last one comes back.
    fn hear(&mut self, frame: FromServer) -> Result<Option<FromServer>, Failure> {
        match frame {
            FromServer::Started => {
                if self.on_terminal {
                    self.raw = Raw::enter()?;
                }
                self.stdin = Some(tokio::io::stdin());
                self.books.begin();
            }
            FromServer::Output(bytes) => self.print(bytes, false)?,
            FromServer::Error(bytes) => self.print(bytes, true)?,
            FromServer::Taken(count) => self.books.credit(count),
            last @ (FromServer::Exit(_) | FromServer::Failed(_)) => return Ok(Some(last)),
        }
        Ok(None)
    }

    fn print(&mut self, bytes: Vec<u8>, error: bool) -> Result<(), Failure> {
        if !self.books.may_print(bytes.len()) {
            return Err(lost("The server sent more output than it was asked for."));
        }
        self.screen.print(bytes, error);
        Ok(())
    }

    /// A signal to this program: the command's first, this program's own when it comes again.
    fn wake(&mut self, woken: Woken) -> Result<(), Failure> {
        match woken {
            Woken::Resized => self.books.resize(ours().unwrap_or_default()),
            // Nobody would see what it says to that.
            Woken::Ending(signal @ Signal::Hup) => return Err(given_up(signal)),
            Woken::Ending(signal) if self.asked || self.on_terminal || !self.books.has_begun() => {
                return Err(given_up(signal));
            }
            Woken::Ending(signal) => {
                self.asked = true;
                self.books.signal(signal);
            }
        }
        Ok(())
    }
}

/// Reads some input, where there is any to be read.
async fn next(stdin: Option<&mut Stdin>, into: &mut [u8]) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.read(into).await,
        None => std::future::pending().await,
    }
}
