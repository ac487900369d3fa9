//! Who may send how much: what has come from the client and waits for the process, and what may go to the client.
//!
//! Nothing here waits, so that every rule is a function.

use crate::types::{FromClient, FromServer, WINDOW};
use bytes::{Bytes, BytesMut};
use hythe_model::{Fault, Signal, TerminalSize};
use hythe_rollout::ONE_OFF_PIECE;

/// The books of one session.
#[derive(Debug)]
pub(crate) struct Books {
    /// Input that has come and waits for the process.
    input: BytesMut,
    is_input_over: bool,
    /// Bytes of input that the process has taken and the client has not been told of.
    taken: usize,
    /// Bytes of output that the client still takes.
    credit: usize,
    /// Output that waits for the client, and whether it is of standard error.
    output: Option<(Bytes, bool)>,
}

/// What a client wants besides sending input and taking output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Resize(TerminalSize),
    Signal(Signal),
}

impl Books {
    pub(crate) fn new() -> Self {
        Self { input: BytesMut::new(), is_input_over: false, taken: 0, credit: WINDOW, output: None }
    }

    /// Enters a frame.
    pub(crate) fn hear(&mut self, frame: FromClient) -> Result<Option<Order>, Fault> {
        match frame {
            FromClient::Start(_) => return Err(wrong("A session starts one command.")),
            FromClient::Input(_) if self.is_input_over => {
                return Err(wrong("Nothing follows the end of input."));
            }
            FromClient::Input(bytes) if self.input.len() + self.taken + bytes.len() > WINDOW => {
                return Err(wrong(format!("More than {WINDOW} bytes of input were sent ahead.")));
            }
            FromClient::Input(bytes) => self.input.extend_from_slice(&bytes),
            FromClient::End => self.is_input_over = true,
            FromClient::Taken(count) => {
                let credit = self.credit.saturating_add(count as usize);
                if credit > WINDOW {
                    return Err(wrong("More output was taken than was sent."));
                }
                self.credit = credit;
            }
            FromClient::Resize(size) => return Ok(Some(Order::Resize(size))),
            FromClient::Signal(signal) => return Ok(Some(Order::Signal(signal))),
        }
        Ok(None)
    }

    /// Whether input waits for the process.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether no input is left and none will come.
    pub(crate) fn is_input_over(&self) -> bool {
        self.is_input_over && self.input.is_empty()
    }

    /// A piece of input on its way to the process.
    pub(crate) fn pass_input(&mut self) -> Vec<u8> {
        let piece = self.input.split_to(self.input.len().min(ONE_OFF_PIECE));
        self.taken += piece.len();
        piece.to_vec()
    }

    /// The process reads no more: what it has not read is let go, and no more is asked for.
    pub(crate) fn drop_input(&mut self) {
        self.input.clear();
    }

    /// Whether there is room for more output.
    pub(crate) fn has_room(&self) -> bool {
        self.output.is_none()
    }

    /// Takes output of the process.
    pub(crate) fn put_output(&mut self, bytes: Vec<u8>, error: bool) {
        self.output = (!bytes.is_empty()).then(|| (bytes.into(), error));
    }

    /// Whether there is something that the client may be told.
    pub(crate) fn has_to_say(&self) -> bool {
        self.taken > 0 || (self.output.is_some() && self.credit > 0)
    }

    /// What the client is told next.
    pub(crate) fn say(&mut self) -> Option<FromServer> {
        if self.taken > 0 {
            return Some(FromServer::Taken(
                u32::try_from(std::mem::take(&mut self.taken)).unwrap_or(u32::MAX),
            ));
        }
        let (bytes, error) = self.output.as_mut().filter(|_| self.credit > 0)?;
        let piece = bytes.split_to(bytes.len().min(self.credit)).to_vec();
        self.credit -= piece.len();
        let frame = if *error { FromServer::Error(piece) } else { FromServer::Output(piece) };
        self.output = self.output.take().filter(|(rest, _)| !rest.is_empty());
        Some(frame)
    }
}

/// The client does not keep to what was agreed.
pub(crate) fn wrong(why: impl Into<String>) -> Fault {
    Fault::new("run/frame", "The session ended: a frame broke its rules.").why(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn input_beyond_the_window_is_refused() {
        let mut books = Books::new();
        books.hear(FromClient::Input(vec![0; WINDOW])).unwrap();
        assert!(books.hear(FromClient::Input(vec![0; 1])).is_err());
        let passed = books.pass_input().len();
        // Until it was told, it may not send more.
        assert!(books.hear(FromClient::Input(vec![0; 1])).is_err());
        assert_eq!(books.say(), Some(FromServer::Taken(u32::try_from(passed).unwrap())));
        books.hear(FromClient::Input(vec![0; passed])).unwrap();
        books.hear(FromClient::End).unwrap();
        assert!(!books.is_input_over(), "some waits still");
        assert!(books.hear(FromClient::Input(vec![0])).is_err());
    }

    #[test]
    fn output_waits_for_the_client() {
        let mut books = Books::new();
        for _ in 0..WINDOW / ONE_OFF_PIECE {
            books.put_output(vec![1; ONE_OFF_PIECE], true);
            assert_eq!(books.say(), Some(FromServer::Error(vec![1; ONE_OFF_PIECE])));
        }
        books.put_output(vec![2; 10], false);
        assert!(!books.has_to_say() && books.say().is_none() && !books.has_room());
        books.hear(FromClient::Taken(4)).unwrap();
        assert_eq!(books.say(), Some(FromServer::Output(vec![2; 4])));
        assert!(!books.has_room());
        books.hear(FromClient::Taken(20)).unwrap();
        assert_eq!(books.say(), Some(FromServer::Output(vec![2; 6])));
        assert!(books.has_room());
        assert!(books.hear(FromClient::Taken(u32::MAX)).is_err(), "it was not sent as much");
    }

    #[test]
    fn a_session_is_started_once() {
        let attach = crate::types::Attach { release: None, args: vec!["ls".to_owned()], terminal: None };
        assert!(Books::new().hear(FromClient::Start(attach)).is_err());
    }

    proptest! {
        #[test]
        fn input_arrives_as_it_was_however_it_is_cut(cuts in proptest::collection::vec(0..3_000_usize, 0..40)) {
            let mut books = Books::new();
            let (mut sent, mut passed) = (Vec::new(), Vec::new());
            for (number, cut) in cuts.into_iter().enumerate() {
                let piece: Vec<u8> = (0..=u8::MAX).cycle().skip(number).take(cut).collect();
                sent.extend_from_slice(&piece);
                books.hear(FromClient::Input(piece)).unwrap();
                if number % 3 == 0 {
                    passed.extend(books.pass_input());
                }
            }
            while books.has_input() {
                passed.extend(books.pass_input());
            }
            prop_assert_eq!(sent, passed);
        }
    }
}
