//! A session between a client and a process that the test is.

use super::handshake::bounds;
use super::session::converse;
use crate::types::{Attach, FRAME_MAX, FromClient, FromServer, WINDOW};
use futures::{SinkExt, StreamExt};
use hythe_model::{Fault, Signal, TerminalSize};
use hythe_rollout::{ExitReason, OneOffEnds, OneOffOutput, OneOffSession, OneOffTerminal};
use proptest::prelude::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

/// A client's connection, and the process at the other end.
struct World {
    client: WebSocketStream<DuplexStream>,
    process: OneOffEnds,
    /// Cancelled when the process is to end.
    ended: CancellationToken,
    stop: CancellationToken,
    session: JoinHandle<()>,
}

fn attach() -> Attach {
    Attach { release: None, args: vec!["sh".to_owned()], terminal: None }
}

/// A session over these bytes, whose process is the other ends.
fn session(
    bytes: DuplexStream,
    ended: &CancellationToken,
    stop: &CancellationToken,
) -> (OneOffEnds, JoinHandle<()>) {
    let size = TerminalSize { rows: 1, cols: 2 };
    let terminal = OneOffTerminal { kind: "xterm".to_owned(), size };
    let (process, ends) = OneOffSession::pair(Some(&terminal), ended.clone());
    let stop = stop.clone();
    let served = tokio::spawn(async move {
        let socket = WebSocketStream::from_raw_socket(bytes, Role::Server, Some(bounds())).await;
        converse(socket, async |_| Ok(process), stop).await;
    });
    (ends, served)
}

impl World {
    /// A session that has not been told what to run.
    async fn silent() -> Self {
        let (near, far) = duplex(1 << 20);
        let (ended, stop) = (CancellationToken::new(), CancellationToken::new());
        let (process, session) = session(far, &ended, &stop);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        Self { client, process, ended, stop, session }
    }

    /// A session whose process runs.
    async fn begun() -> Self {
        let mut world = Self::silent().await;
        world.say(FromClient::Start(attach())).await;
        assert_eq!(world.hear().await, FromServer::Started);
        world
    }

    async fn say(&mut self, frame: FromClient) {
        self.client.send(Message::binary(frame.encode())).await.unwrap();
    }

    async fn hear(&mut self) -> FromServer {
        loop {
            match self.client.next().await.expect("a frame").unwrap() {
                Message::Binary(bytes) => return FromServer::decode(&bytes).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn print(&self, bytes: Vec<u8>, error: bool) {
        self.process.output.send(OneOffOutput::Bytes { bytes, error }).await.unwrap();
    }

    /// The fault that the session ends with; the process ends with it.
    async fn fault(mut self) -> Fault {
        let last = self.hear().await;
        let FromServer::Failed(fault) = last else { panic!("{last:?}") };
        drop(self.client);
        self.session.await.unwrap();
        assert!(self.ended.is_cancelled(), "the process goes on");
        fault
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_exit_comes_last() {
    let mut world = World::begun().await;
    world.say(FromClient::Input(b"select".to_vec())).await;
    world.say(FromClient::End).await;
    assert_eq!(world.process.input.recv().await.unwrap(), b"select");
    assert_eq!(world.process.input.recv().await, None);
    assert_eq!(world.hear().await, FromServer::Taken(6));
    world.print(vec![0, 255], false).await;
    world.print(b"no".to_vec(), true).await;
    let reason = ExitReason { signal: Some(15), ..ExitReason::default() };
    world.process.output.send(OneOffOutput::Exit(reason)).await.unwrap();
    assert_eq!(world.hear().await, FromServer::Output(vec![0, 255]));
    assert_eq!(world.hear().await, FromServer::Error(b"no".to_vec()));
    assert_eq!(world.hear().await, FromServer::Exit(143));
}

#[tokio::test]
async fn signals_and_sizes_pass_input_that_nobody_reads() {
    let mut world = World::begun().await;
    let piece = vec![0; WINDOW / 4];
    for _ in 0..4 {
        world.say(FromClient::Input(piece.clone())).await;
    }
    world.say(FromClient::Signal(Signal::Int)).await;
    world.say(FromClient::Resize(TerminalSize { rows: 3, cols: 4 })).await;
    assert_eq!(world.process.signals.recv().await, Some(Signal::Int));
    world.process.size.changed().await.unwrap();
    assert_eq!(*world.process.size.borrow(), TerminalSize { rows: 3, cols: 4 });
}

#[tokio::test]
async fn output_waits_where_the_client_takes_none() {
    let mut world = World::begun().await;
    let mut sent = 0;
    let full = loop {
        let piece = OneOffOutput::Bytes { bytes: vec![7; 16 << 10], error: false };
        let room = tokio::time::timeout(Duration::from_millis(200), world.process.output.send(piece)).await;
        sent += 16 << 10;
        if room.is_err() {
            break sent;
        }
    };
    assert!(full <= 4 * WINDOW + (1 << 20), "{full} bytes wait");
    let mut heard = 0;
    while heard < WINDOW {
        let FromServer::Output(bytes) = world.hear().await else { panic!("no output") };
        heard += bytes.len();
    }
    assert_eq!(heard, WINDOW);
    world.say(FromClient::Taken(5)).await;
    assert_eq!(world.hear().await, FromServer::Output(vec![7; 5]));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_process() {
    let world = World::begun().await;
    drop(world.client);
    tokio::time::timeout(Duration::from_secs(5), world.ended.cancelled()).await.expect("it ends");
    world.session.await.unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_and_answers_nothing_is_gone() {
    let world = World::begun().await;
    // Nobody reads, so that nobody answers pings.
    let _held = &world.client;
    tokio::time::timeout(Duration::from_secs(8), world.ended.cancelled()).await.expect("it ends");
}

#[tokio::test]
async fn an_over_long_frame_ends_the_session() {
    let mut world = World::begun().await;
    world.say(FromClient::Input(vec![0; FRAME_MAX])).await;
    assert_eq!(world.fault().await.id, "run/frame-too-long");
}

#[tokio::test]
async fn a_frame_that_breaks_a_rule_ends_the_session() {
    for wrong in [&b""[..], b"\x09", b"\x05\"KILL\"", b"\x01{\"args\":[\"ls\"]}"] {
        let mut world = World::begun().await;
        world.client.send(Message::binary(wrong.to_vec())).await.unwrap();
        assert_eq!(world.fault().await.id, "run/frame");
    }
    let mut world = World::begun().await;
    world.client.send(Message::text("hello")).await.unwrap();
    assert_eq!(world.fault().await.id, "run/frame");
    let mut world = World::silent().await;
    world.say(FromClient::End).await;
    assert_eq!(world.fault().await.id, "run/frame");
    // Nothing at all.
    assert_eq!(World::silent().await.fault().await.id, "run/frame");
}

#[tokio::test]
async fn a_server_that_stops_asks_the_process_and_tells_the_client() {
    let mut world = World::begun().await;
    world.stop.cancel();
    assert_eq!(world.process.signals.recv().await, Some(Signal::Term));
    world.print(b"bye".to_vec(), false).await;
    let exit = OneOffOutput::Exit(ExitReason { code: Some(0), ..ExitReason::default() });
    world.process.output.send(exit).await.unwrap();
    assert_eq!(world.hear().await, FromServer::Output(b"bye".to_vec()));
    let fault = world.fault().await;
    assert_eq!((fault.id.as_str(), fault.why.len()), ("run/stopping", 1));
    // One that does not listen is ended.
    let world = World::begun().await;
    world.stop.cancel();
    assert_eq!(world.fault().await.id, "run/stopping");
}

#[tokio::test]
async fn a_process_out_of_sight_is_a_fault() {
    let mut world = World::begun().await;
    let (_, other) = OneOffSession::pair(None, CancellationToken::new());
    world.process = other;
    assert_eq!(world.fault().await.id, "run/lost");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A network cuts bytes wherever it likes.
    #[test]
    fn any_split_of_bytes_is_heard_the_same(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..12),
        cuts in proptest::collection::vec(1..300_usize, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let said = bytes_of(&pieces).await;
            let (mut near, far) = duplex(1 << 20);
            let (ended, stop) = (CancellationToken::new(), CancellationToken::new());
            let (mut process, _session) = session(far, &ended, &stop);
            let (mut rest, mut cuts) = (said.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                near.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
                rest = more;
            }
            let mut heard = Vec::new();
            while let Some(piece) = process.input.recv().await {
                heard.extend(piece);
            }
            assert_eq!(heard, pieces.concat());
        });
    }
}

/// What a client that starts a command and sends it these pieces puts on the wire.
async fn bytes_of(pieces: &[Vec<u8>]) -> Vec<u8> {
    let (near, mut far) = duplex(1 << 20);
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let input = pieces.iter().map(|piece| FromClient::Input(piece.clone()));
    for frame in std::iter::once(FromClient::Start(attach())).chain(input).chain([FromClient::End]) {
        client.send(Message::binary(frame.encode())).await.unwrap();
    }
    drop(client);
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).await.unwrap();
    bytes
}
