//! A pod's standard streams over a WebSocket (Kubernetes, `v5.channel.k8s.io`): a message begins with the number of its stream.
//!
//! Enter at [`open`], then [`Attached::let_go`] and [`Attached::carry`]. Reading and writing never wait for each
//! other: a process that does not read goes on being heard.

use super::desired::CONTAINER;
use super::hold::{ASK, Answers, GO, Hold};
use crate::one_off::{END_OF_TYPING, ONE_OFF_PIECE, OneOffOutput, beside};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hythe_cluster::{ClusterError, patient};
use hythe_model::TerminalSize;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use kube::core::Request;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Whatever lies between keeps an idle connection.
const PING: Duration = Duration::from_secs(30);
/// How long an answer of a held command is waited for before it is asked again, and in all.
const AGAIN: Duration = Duration::from_millis(200);
const ANSWER: Duration = Duration::from_secs(30);

/// The streams of one container.
pub(crate) struct Attached<S> {
    to: SplitSink<WebSocketStream<S>, Message>,
    from: SplitStream<WebSocketStream<S>>,
    /// Whether the end of input can be told.
    closes: bool,
    terminal: bool,
    /// What came behind the last answer of a held command.
    first: Vec<OneOffOutput>,
}

/// What a pod says.
enum Heard {
    Bytes {
        bytes: Vec<u8>,
        error: bool,
    },
    /// The container has ended, or has closed its streams.
    End,
}

/// Attaches to a running pod.
pub(crate) async fn open(
    client: &kube::Client,
    api: &Api<Pod>,
    name: &str,
    terminal: bool,
) -> Result<Attached<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>, ClusterError> {
    let params = AttachParams::default().container(CONTAINER).stdin(true).stderr(!terminal).tty(terminal);
    let connection = patient("attach to a pod", || async {
        let request = Request::new(api.resource_url()).attach(name, &params);
        client.connect(request.map_err(kube::Error::BuildRequest)?).await
    });
    let connection = connection.await?;
    let closes = connection.supports_stream_close();
    let (to, from) = connection.into_stream().split();
    Ok(Attached { to, from, closes, terminal, first: Vec::new() })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Attached<S> {
    /// Lets a held command go, once whatever it prints arrives here.
    pub(crate) async fn let_go(&mut self, hold: &Hold, size: TerminalSize) -> Result<(), String> {
        if self.terminal {
            self.say(resized(size)).await?;
        }
        let (mut out, mut err) = (Answers::default(), Answers::default());
        let asked = async {
            loop {
                self.say(line(ASK)).await?;
                if let Ok(answered) = timeout(AGAIN, self.answers(hold, ASK, &mut out, &mut err)).await {
                    return answered;
                }
            }
        };
        timeout(ANSWER, asked).await.map_err(|_| "its shell does not answer")??;
        self.say(line(GO)).await?;
        let gone = timeout(ANSWER, self.answers(hold, GO, &mut out, &mut err)).await;
        gone.map_err(|_| "its shell does not answer")??;
        for (answers, error) in [(out, false), (err, true)] {
            let rest = answers.after(hold, GO);
            let pieces = rest.chunks(ONE_OFF_PIECE);
            self.first.extend(pieces.map(|piece| OneOffOutput::Bytes { bytes: piece.to_vec(), error }));
        }
        Ok(())
    }

    /// Waits until both streams have answered a line.
    async fn answers(
        &mut self,
        hold: &Hold,
        line: &str,
        out: &mut Answers,
        err: &mut Answers,
    ) -> Result<(), String> {
        while !(out.has(hold, line) && (self.terminal || err.has(hold, line))) {
            let fits = match hear(&mut self.from).await? {
                Heard::Bytes { bytes, error: false } => out.hear(&bytes),
                Heard::Bytes { bytes, error: true } => err.hear(&bytes),
                Heard::End => return Err("it ended before it began; the image must have /bin/sh".to_owned()),
            };
            if !fits {
                return Err("its shell says something else than was asked".to_owned());
            }
        }
        Ok(())
    }

    async fn say(&mut self, message: Vec<u8>) -> Result<(), String> {
        self.to.send(Message::binary(message)).await.map_err(|error| error.to_string())
    }

    /// Carries both ways until the container has ended; an error where the connection was lost before.
    pub(crate) async fn carry(
        self,
        input: mpsc::Receiver<Vec<u8>>,
        size: watch::Receiver<TerminalSize>,
        output: &mpsc::Sender<OneOffOutput>,
    ) -> Result<(), String> {
        let Self { to, mut from, closes, terminal, first } = self;
        let heard = async {
            for piece in first {
                let _ = output.send(piece).await;
            }
            while let Heard::Bytes { bytes, error } = hear(&mut from).await? {
                for piece in bytes.chunks(ONE_OFF_PIECE) {
                    let _ = output.send(OneOffOutput::Bytes { bytes: piece.to_vec(), error }).await;
                }
            }
            Ok(())
        };
        let ending =
            if terminal { Some(vec![STDIN, END_OF_TYPING]) } else { closes.then(|| vec![CLOSE, STDIN]) };
        // Where it cannot say anything any more, it does not hear anything either, and that is told.
        beside(heard, async { drop(speak(to, input, size, ending).await) }).await
    }
}

/// Says input, sizes and now and then nothing.
async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    mut to: SplitSink<WebSocketStream<S>, Message>,
    mut input: mpsc::Receiver<Vec<u8>>,
    mut size: watch::Receiver<TerminalSize>,
    ending: Option<Vec<u8>>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let (mut ending, mut is_open, mut is_sized) = (ending, true, true);
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            piece = input.recv(), if is_open => {
                is_open = piece.is_some();
                let said = piece.map(|bytes| of_stream(STDIN, &bytes)).or_else(|| ending.take());
                let Some(said) = said else { continue };
                Message::binary(said)
            }
            changed = size.changed(), if is_sized => {
                is_sized = changed.is_ok();
                let now = *size.borrow_and_update();
                Message::binary(resized(now))
            }
            _ = pings.tick() => Message::Ping(Vec::new().into()),
        };
        to.send(message).await?;
    }
}

async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    from: &mut SplitStream<WebSocketStream<S>>,
) -> Result<Heard, String> {
    loop {
        let message = from.next().await.ok_or("the cluster closed the connection")?;
        let Message::Binary(message) = message.map_err(|error| error.to_string())? else { continue };
        match message.split_first() {
            // An empty one opens the stream.
            Some((&(STDOUT | STDERR), [])) | None => {}
            Some((&stream @ (STDOUT | STDERR), bytes)) => {
                return Ok(Heard::Bytes { bytes: bytes.to_vec(), error: stream == STDERR });
            }
            Some((&STATUS, [_, ..])) => return Ok(Heard::End),
            Some(_) => {}
        }
    }
}

fn of_stream(stream: u8, bytes: &[u8]) -> Vec<u8> {
    [&[stream], bytes].concat()
}

fn line(text: &str) -> Vec<u8> {
    of_stream(STDIN, format!("{text}\n").as_bytes())
}

fn resized(size: TerminalSize) -> Vec<u8> {
    let size = serde_json::json!({ "Width": size.cols, "Height": size.rows });
    of_stream(RESIZE, size.to_string().as_bytes())
}
