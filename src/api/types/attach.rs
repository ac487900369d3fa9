//! What travels over the WebSocket of a run that somebody is attached to.
//!
//! A binary message is one frame: a byte that says what it is, and its content. Both sides give credit: each may be sent
//! [`WINDOW`] bytes of the command's input or output, and as many more as it says by `taken` that it has taken. So neither
//! side ever has to stop reading, and a signal never waits behind input that nobody reads.

use hythe_model::{Fault, ReleaseNumber, Signal, TerminalSize};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The subprotocol that both sides name (`Sec-WebSocket-Protocol`).
pub const RUN_PROTOCOL: &str = "hythe.run.v1";
/// Most bytes of a frame.
pub const FRAME_MAX: usize = 128 << 10;
/// Bytes of input, and of output, that may be on their way.
pub const WINDOW: usize = 256 << 10;

/// What to run once, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// The release whose image and config are used; the live one where absent.
    #[schema(value_type = Option<String>, example = "v14")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// A process type alone, or a program and its arguments.
    pub args: Vec<String>,
    /// The terminal that it gets; standard input, output and error apart where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
}

/// A terminal of the command's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Terminal {
    /// Its `$TERM`: 1 to 64 letters, digits, `.`, `_`, `+` and `-`.
    #[schema(example = "xterm-256color")]
    pub kind: String,
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub cols: u16,
}

/// A frame that the client sends. The first is `Start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// 1, JSON: what to run.
    Start(Attach),
    /// 2: bytes of its standard input.
    Input(Vec<u8>),
    /// 3, empty: its standard input ends.
    End,
    /// 4, JSON (`{"rows": 24, "cols": 80}`): its terminal has another size.
    Resize(TerminalSize),
    /// 5, JSON (`"INT"`): a signal to it, one of HUP, INT, QUIT and TERM.
    Signal(Signal),
    /// 6, a number of 32 bits, the highest byte first: so many bytes of output were taken since the last one.
    Taken(u32),
}

/// A frame that the server sends. The last is `Exit` or `Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// 16, empty: it runs.
    Started,
    /// 17: bytes of its standard output, or of its terminal.
    Output(Vec<u8>),
    /// 18: bytes of its standard error.
    Error(Vec<u8>),
    /// 19, JSON (`{"code": 0}`): the end; 128 and the signal's number where one ended it.
    Exit(i32),
    /// 20, JSON (a fault): the end, for another reason than its own.
    Failed(Fault),
    /// 21, a number of 32 bits, the highest byte first: so many bytes of input were taken since the last one.
    Taken(u32),
}

/// Why a message is no frame.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// There is nothing in it.
    #[error("a frame has at least one byte, which says what it is")]
    Empty,
    /// This side is sent no such frame.
    #[error("there is no frame {0}")]
    Kind(u8),
    /// The content is not what such a frame has.
    #[error("the content of frame {kind} cannot be read: {why}")]
    Content {
        /// Which.
        kind: u8,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Exit {
    code: i32,
}

impl FromClient {
    /// As a message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Start(attach) => json(1, attach),
            Self::Input(bytes) => raw(2, bytes),
            Self::End => raw(3, &[]),
            Self::Resize(size) => json(4, size),
            Self::Signal(signal) => json(5, signal),
            Self::Taken(count) => raw(6, &count.to_be_bytes()),
        }
    }

    /// From a message.
    pub fn decode(message: &[u8]) -> Result<Self, FrameError> {
        let (&kind, content) = message.split_first().ok_or(FrameError::Empty)?;
        Ok(match kind {
            1 => Self::Start(read(kind, content)?),
            2 => Self::Input(content.to_vec()),
            3 => nothing(kind, content).map(|()| Self::End)?,
            4 => Self::Resize(read(kind, content)?),
            5 => Self::Signal(read(kind, content)?),
            6 => Self::Taken(number(kind, content)?),
            _ => return Err(FrameError::Kind(kind)),
        })
    }
}

impl FromServer {
    /// As a message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started => raw(16, &[]),
            Self::Output(bytes) => raw(17, bytes),
            Self::Error(bytes) => raw(18, bytes),
            Self::Exit(code) => json(19, &Exit { code: *code }),
            Self::Failed(fault) => json(20, fault),
            Self::Taken(count) => raw(21, &count.to_be_bytes()),
        }
    }

    /// From a message.
    pub fn decode(message: &[u8]) -> Result<Self, FrameError> {
        let (&kind, content) = message.split_first().ok_or(FrameError::Empty)?;
        Ok(match kind {
            16 => nothing(kind, content).map(|()| Self::Started)?,
            17 => Self::Output(content.to_vec()),
            18 => Self::Error(content.to_vec()),
            19 => Self::Exit(read::<Exit>(kind, content)?.code),
            20 => Self::Failed(read(kind, content)?),
            21 => Self::Taken(number(kind, content)?),
            _ => return Err(FrameError::Kind(kind)),
        })
    }
}

fn raw(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind], content].concat()
}

fn json(kind: u8, content: &impl Serialize) -> Vec<u8> {
    let mut message = vec![kind];
    // Plain values, so that this does not fail; a frame without content would be refused.
    let _ = serde_json::to_writer(&mut message, content);
    message
}

fn read<T: DeserializeOwned>(kind: u8, content: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(content).map_err(|error| FrameError::Content { kind, why: error.to_string() })
}

fn nothing(kind: u8, content: &[u8]) -> Result<(), FrameError> {
    let why = || FrameError::Content { kind, why: "it has none".to_owned() };
    content.is_empty().then_some(()).ok_or_else(why)
}

fn number(kind: u8, content: &[u8]) -> Result<u32, FrameError> {
    let why = |_| FrameError::Content { kind, why: "it is a number of 4 bytes".to_owned() };
    content.try_into().map(u32::from_be_bytes).map_err(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from_client() -> impl Strategy<Value = FromClient> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..64);
        let terminal = ("[a-z0-9-]{1,20}", any::<u16>(), any::<u16>());
        let terminal = terminal.prop_map(|(kind, rows, cols)| Terminal { kind, rows, cols });
        let start = (proptest::option::of(1..99_u32), proptest::collection::vec(".*", 1..4));
        let start = (start, proptest::option::of(terminal)).prop_map(|((release, args), terminal)| {
            FromClient::Start(Attach { release: release.map(ReleaseNumber), args, terminal })
        });
        let size = any::<(u16, u16)>().prop_map(|(rows, cols)| TerminalSize { rows, cols });
        let signal =
            prop_oneof![Just(Signal::Hup), Just(Signal::Int), Just(Signal::Quit), Just(Signal::Term)];
        prop_oneof![
            start,
            bytes.prop_map(FromClient::Input),
            Just(FromClient::End),
            size.prop_map(FromClient::Resize),
            signal.prop_map(FromClient::Signal),
            any::<u32>().prop_map(FromClient::Taken),
        ]
    }

    fn from_server() -> impl Strategy<Value = FromServer> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..64);
        let fault = (".*", ".*").prop_map(|(id, what)| FromServer::Failed(Fault::new(id, what)));
        prop_oneof![
            Just(FromServer::Started),
            bytes().prop_map(FromServer::Output),
            bytes().prop_map(FromServer::Error),
            any::<i32>().prop_map(FromServer::Exit),
            fault,
            any::<u32>().prop_map(FromServer::Taken),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(client in from_client(), server in from_server()) {
            prop_assert_eq!(FromClient::decode(&client.encode()).unwrap(), client.clone());
            prop_assert_eq!(FromServer::decode(&server.encode()).unwrap(), server.clone());
            // Nobody takes a frame of the one side for one of the other.
            prop_assert!(FromServer::decode(&client.encode()).is_err());
            prop_assert!(FromClient::decode(&server.encode()).is_err());
        }

        #[test]
        fn whatever_arrives_is_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(frame) = FromClient::decode(&message) {
                prop_assert_eq!(FromClient::decode(&frame.encode()).unwrap(), frame);
            }
            let _ = FromServer::decode(&message);
        }
    }

    #[test]
    fn frames_are_as_they_are_documented() {
        let size = TerminalSize { rows: 24, cols: 80 };
        assert_eq!(FromClient::Resize(size).encode(), b"\x04{\"rows\":24,\"cols\":80}");
        assert_eq!(FromClient::Signal(Signal::Int).encode(), b"\x05\"INT\"");
        assert_eq!(FromClient::Taken(258).encode(), [6, 0, 0, 1, 2]);
        assert_eq!(FromServer::Exit(143).encode(), b"\x13{\"code\":143}");
        assert_eq!(FromClient::decode(b""), Err(FrameError::Empty));
        assert_eq!(FromClient::decode(b"\x09"), Err(FrameError::Kind(9)));
        for wrong in [&b"\x03x"[..], b"\x05\"KILL\"", b"\x06abc", b"\x01{\"args\":[],\"shell\":true}"] {
            assert!(matches!(FromClient::decode(wrong), Err(FrameError::Content { .. })), "{wrong:?}");
        }
    }
}
