//! The WebSocket to the server. Frames are written by a task of their own, so that hearing never waits for saying.

use crate::client::Client;
use crate::failure::Failure;
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use hythe_api::types::{FRAME_MAX, FromClient, RUN_PROTOCOL};
use hythe_model::ToolName;
use reqwest::Upgraded;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Frames that wait to be written.
const FRAMES: usize = 8;

/// What the server says.
pub(super) struct Ear(SplitStream<WebSocketStream<Upgraded>>);

/// What it is told. Dropping all of them closes the connection.
#[derive(Clone)]
pub(super) struct Mouth(mpsc::Sender<Message>);

/// Room for one frame.
pub(super) struct Room(OwnedPermit<Message>);

impl Room {
    /// Sends it.
    pub(super) fn send(self, frame: &FromClient) {
        drop(self.0.send(Message::binary(frame.encode())));
    }
}

/// Opens a connection.
pub(super) async fn open(client: &Client, tool: &ToolName) -> Result<(Ear, Mouth), Failure> {
    let upgraded = client.upgrade(&["tools", tool.as_str(), "run", "attach"], RUN_PROTOCOL).await?;
    let bounds = WebSocketConfig::default().max_message_size(Some(FRAME_MAX)).max_frame_size(Some(FRAME_MAX));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(bounds)).await;
    let (mut to, from) = socket.split();
    let (out, mut frames) = mpsc::channel(FRAMES);
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if to.send(frame).await.is_err() {
                return;
            }
        }
        let _ = to.close().await;
    });
    Ok((Ear(from), Mouth(out)))
}

impl Ear {
    /// The next frame; `None` for what only shows that the server is there.
    pub(super) async fn hear(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self.0.next().await {
            Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes.to_vec())),
            Some(Ok(Message::Close(_))) | None => Err("The server closed it.".to_owned()),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(error.to_string()),
        }
    }
}

impl Mouth {
    /// Waits for room for a frame.
    pub(super) async fn room(self) -> Result<Room, String> {
        self.0.reserve_owned().await.map(Room).map_err(|_| "Nothing can be sent any more.".to_owned())
    }
}
