//! What is said in a session, from its first frame to its last.
//!
//! Enter at [`converse`]. Frames are written by a task of their own, so that hearing never waits for saying; what may wait
//! in between is bounded by the books. However it ends, the session with the process is dropped, which ends the process.

use super::books::{Books, Order, wrong};
use crate::types::{Attach, FRAME_MAX, FromClient, FromServer};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hythe_model::{Fault, Signal, TerminalSize};
use hythe_rollout::{OneOffOutput, OneOffSession};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

/// Frames that wait to be written.
const FRAMES: usize = 8;
/// How long the first frame may take.
const FIRST: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How often the client is asked whether it is there.
const PING: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 15_000 });
/// How long it may say nothing, and how long a frame may take to be written.
const SILENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
/// How long a command may take to end by itself where the server stops.
const FAREWELL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// How long the client may take to hear the last frame and close the connection.
const LAST: Duration = Duration::from_secs(5);

/// How a session ends.
enum End {
    /// With this frame.
    Said(FromServer),
    /// The client has gone.
    Lost,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Said(FromServer::Failed(fault))
    }
}

/// Serves one client; `start` starts what it asks for.
pub(crate) async fn converse<S>(
    socket: WebSocketStream<S>,
    start: impl AsyncFnOnce(Attach) -> Result<OneOffSession, Fault>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, from) = socket.split();
    let (out, frames) = mpsc::channel(FRAMES);
    let mut writer = tokio::spawn(write(sink, frames));
    let mut client = Client { from, heard: Instant::now(), out, pings: pings() };
    let Err(end) = talk(&mut client, start, &stop).await;
    if let End::Said(frame) = end {
        let said = async {
            let _ = client.out.send(Message::binary(frame.encode())).await;
            let _ = client.out.send(Message::Close(None)).await;
            // Whatever it sent meanwhile is read: a connection that is closed over it would take the last frame with it.
            while let Some(Ok(_)) = client.from.next().await {}
        };
        let _ = timeout(LAST, said).await;
    }
    drop(client);
    if timeout(LAST, &mut writer).await.is_err() {
        writer.abort();
    }
}

fn pings() -> Interval {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut frames: mpsc::Receiver<Message>,
) {
    while let Some(frame) = frames.recv().await {
        if !matches!(timeout(SILENCE, sink.send(frame)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The client's side of a session.
struct Client<S> {
    from: SplitStream<WebSocketStream<S>>,
    /// When it was heard last.
    heard: Instant,
    out: mpsc::Sender<Message>,
    pings: Interval,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// The next frame.
    async fn hear(&mut self) -> Result<FromClient, End> {
        loop {
            tokio::select! {
                message = self.from.next() => {
                    self.heard = Instant::now();
                    if let Some(frame) = read(message)? {
                        return Ok(frame);
                    }
                }
                _ = self.pings.tick() => {
                    if self.heard.elapsed() > SILENCE {
                        return Err(End::Lost);
                    }
                    // Where so much waits to be written, it need not be asked whether it is there.
                    let _ = self.out.try_send(Message::Ping(Vec::new().into()));
                }
            }
        }
    }
}

/// A frame of a message; `None` where it is none of ours.
fn read(message: Option<Result<Message, Error>>) -> Result<Option<FromClient>, End> {
    match message {
        Some(Ok(Message::Binary(bytes))) => {
            FromClient::decode(&bytes).map(Some).map_err(|error| wrong(error.to_string()).into())
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Ok(Message::Text(_))) => Err(wrong("Frames are binary messages.").into()),
        Some(Err(Error::Capacity(_))) => {
            let what = format!("The session ended: a frame was longer than {} KiB.", FRAME_MAX >> 10);
            Err(Fault::new("run/frame-too-long", what).into())
        }
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Lost),
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    start: impl AsyncFnOnce(Attach) -> Result<OneOffSession, Fault>,
    stop: &CancellationToken,
) -> Result<std::convert::Infallible, End> {
    let attach = first(client, stop).await?;
    let mut books = Books::new();
    let session = begin(client, &mut books, start(attach), stop).await?;
    let started = client.out.send(Message::binary(FromServer::Started.encode())).await;
    started.map_err(|_| End::Lost)?;
    carry(client, books, session, stop).await
}

async fn first<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    stop: &CancellationToken,
) -> Result<Attach, End> {
    let frame = tokio::select! {
        frame = timeout(FIRST, client.hear()) => frame,
        () = stop.cancelled() => return Err(stops().into()),
    };
    match frame {
        Ok(Ok(FromClient::Start(attach))) => Ok(attach),
        Ok(Ok(_)) => Err(wrong("The first frame says what to run.").into()),
        Ok(Err(end)) => Err(end),
        Err(_) => Err(wrong(format!("No frame said within {} s what to run.", FIRST.as_secs())).into()),
    }
}

/// Waits until the process runs, and enters what the client says meanwhile.
async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    books: &mut Books,
    starting: impl Future<Output = Result<OneOffSession, Fault>>,
    stop: &CancellationToken,
) -> Result<OneOffSession, End> {
    let mut starting = pin!(starting);
    let mut size: Option<TerminalSize> = None;
    let session = loop {
        tokio::select! {
            session = &mut starting => break session?,
            frame = client.hear() => match books.hear(frame?)? {
                Some(Order::Resize(now)) => size = Some(now),
                Some(Order::Signal(_)) => return Err(interrupted().into()),
                None => {}
            },
            () = stop.cancelled() => return Err(stops().into()),
        }
    };
    size.map(|size| session.size.send_replace(size));
    Ok(session)
}

/// Carries both ways until the process or the client has ended, or the server stops.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    mut books: Books,
    mut session: OneOffSession,
    stop: &CancellationToken,
) -> Result<std::convert::Infallible, End> {
    let out = client.out.clone();
    let mut until = None;
    loop {
        if books.is_input_over() {
            session.input = None;
        }
        tokio::select! {
            frame = client.hear() => match books.hear(frame?)? {
                Some(Order::Resize(size)) => drop(session.size.send_replace(size)),
                // One that finds no place follows others that have not arrived yet.
                Some(Order::Signal(signal)) => drop(session.signals.try_send(signal)),
                None => {}
            },
            said = session.output.recv(), if books.has_room() => match said {
                Some(OneOffOutput::Bytes { bytes, error }) => books.put_output(bytes, error),
                Some(OneOffOutput::Exit(reason)) if until.is_some() => {
                    return Err(stops().why(format!("It ended: {}.", reason.text())).into());
                }
                Some(OneOffOutput::Exit(reason)) => {
                    return Err(End::Said(FromServer::Exit(reason.shell_code())));
                }
                None => return Err(out_of_sight().into()),
            },
            room = out.reserve(), if books.has_to_say() => {
                let room = room.map_err(|_| End::Lost)?;
                if let Some(frame) = books.say() {
                    room.send(Message::binary(frame.encode()));
                }
            }
            room = room_of(session.input.clone()), if books.has_input() => {
                if let Some(room) = room {
                    room.send(books.pass_input());
                } else {
                    books.drop_input();
                    session.input = None;
                }
            }
            () = stop.cancelled(), if until.is_none() => {
                let _ = session.signals.try_send(Signal::Term);
                until = Some(Instant::now() + FAREWELL);
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                return Err(stops().into());
            }
        }
    }
}

/// Room for a piece of input; `None` where the process reads no more.
async fn room_of(input: Option<mpsc::Sender<Vec<u8>>>) -> Option<OwnedPermit<Vec<u8>>> {
    input?.reserve_owned().await.ok()
}

/// The platform cannot tell how the process ended.
pub(crate) fn out_of_sight() -> Fault {
    Fault::new("run/lost", "The platform lost sight of the process.")
        .next("Its lines, if it printed any, are in: hythe logs")
}

fn stops() -> Fault {
    Fault::new("run/stopping", "The command was ended: the server stops, or is started again.")
        .next("Run it again in a moment.")
}

fn interrupted() -> Fault {
    Fault::new("run/interrupted", "The command was interrupted before it began.")
}
