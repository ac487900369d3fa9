//! What is to be sent, and how much may be.

use hythe_api::types::{FromClient, WINDOW};
use hythe_model::{Signal, TerminalSize};

/// The books of one session.
pub(super) struct Books {
    /// The first frame, until it is sent.
    start: Option<FromClient>,
    has_begun: bool,
    signal: Option<Signal>,
    size: Option<TerminalSize>,
    /// Input that was read and not sent.
    input: Vec<u8>,
    /// Whether the input has ended, and that has not been said.
    is_ending: bool,
    /// Bytes of input that the server still takes.
    credit: usize,
    /// Bytes of output that were printed, and the server has not been told.
    printed: usize,
    /// Bytes of output that came and were not acknowledged.
    owed: usize,
}

impl Books {
    pub(super) fn new(start: FromClient) -> Self {
        Self {
            start: Some(start),
            has_begun: false,
            signal: None,
            size: None,
            input: Vec::new(),
            is_ending: false,
            credit: WINDOW,
            printed: 0,
            owed: 0,
        }
    }

    /// The command runs.
    pub(super) fn begin(&mut self) {
        self.has_begun = true;
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether more input may be read.
    pub(super) fn has_room(&self) -> bool {
        self.input.is_empty()
    }

    pub(super) fn put_input(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    pub(super) fn end_input(&mut self) {
        self.is_ending = true;
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.signal = Some(signal);
    }

    pub(super) fn resize(&mut self, size: TerminalSize) {
        self.size = Some(size);
    }

    /// The server takes so much more input.
    pub(super) fn credit(&mut self, count: u32) {
        self.credit = self.credit.saturating_add(count as usize).min(WINDOW);
    }

    /// Whether the server may send so many bytes of output.
    pub(super) fn may_print(&mut self, count: usize) -> bool {
        self.owed += count;
        self.owed <= WINDOW
    }

    /// So many bytes were printed.
    pub(super) fn took(&mut self, count: usize) {
        self.printed += count;
    }

    /// Whether there is something to be sent.
    pub(super) fn has_to_say(&self) -> bool {
        self.start.is_some()
            || self.signal.is_some()
            || self.size.is_some()
            || self.printed > 0
            || (self.credit > 0 && !self.input.is_empty())
            || (self.is_ending && self.input.is_empty())
    }

    /// What is sent next: input comes last, so that nothing waits behind it.
    pub(super) fn say(&mut self) -> Option<FromClient> {
        if let Some(start) = self.start.take() {
            return Some(start);
        }
        if let Some(signal) = self.signal.take() {
            return Some(FromClient::Signal(signal));
        }
        if let Some(size) = self.size.take() {
            return Some(FromClient::Resize(size));
        }
        if self.printed > 0 {
            let count = std::mem::take(&mut self.printed);
            self.owed -= count.min(self.owed);
            return Some(FromClient::Taken(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        let count = self.input.len().min(self.credit);
        if count > 0 {
            self.credit -= count;
            return Some(FromClient::Input(self.input.drain(..count).collect()));
        }
        let ends = self.is_ending && self.input.is_empty();
        self.is_ending &= !ends;
        ends.then_some(FromClient::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Books {
        let mut books = Books::new(FromClient::End);
        books.say();
        books.begin();
        books
    }

    #[test]
    fn input_waits_for_credit_and_its_end_for_input() {
        let mut books = begun();
        books.put_input(&vec![1; WINDOW]);
        assert_eq!(books.say(), Some(FromClient::Input(vec![1; WINDOW])));
        books.put_input(&[2; 10]);
        books.end_input();
        assert!(!books.has_to_say() && books.say().is_none());
        books.credit(4);
        assert_eq!(books.say(), Some(FromClient::Input(vec![2; 4])));
        books.credit(100);
        assert_eq!(books.say(), Some(FromClient::Input(vec![2; 6])));
        assert_eq!(books.say(), Some(FromClient::End));
        assert!(!books.has_to_say() && books.say().is_none());
    }

    #[test]
    fn a_signal_passes_input_by() {
        let mut books = begun();
        books.put_input(b"rows");
        books.resize(TerminalSize { rows: 1, cols: 2 });
        books.resize(TerminalSize { rows: 3, cols: 4 });
        books.signal(Signal::Int);
        assert_eq!(books.say(), Some(FromClient::Signal(Signal::Int)));
        assert_eq!(books.say(), Some(FromClient::Resize(TerminalSize { rows: 3, cols: 4 })));
        assert_eq!(books.say(), Some(FromClient::Input(b"rows".to_vec())));
    }

    #[test]
    fn what_is_not_printed_is_not_asked_for_again() {
        let mut books = begun();
        assert!(books.may_print(WINDOW));
        assert!(!books.has_to_say());
        books.took(100);
        assert_eq!(books.say(), Some(FromClient::Taken(100)));
        assert!(books.may_print(100));
        assert!(!books.may_print(1));
    }
}
