//! Hears a lifecycle out: messages become events, and the last one says how it went.

use crate::told::Teller;
use crate::{BuildLimits, EventSink, fault};
use hythe_cnb::protocol::{Failure, MESSAGE_MAX, Message, Outcome};
use hythe_model::Fault;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Bytes of messages that are neither output nor the last. Only a forger tells more.
const NOTES: u64 = 1 << 20;

/// How a lifecycle said that it went; nothing where it did not say.
pub(crate) type Told = Option<Result<Outcome, Failure>>;

/// What was heard so far.
pub(crate) struct Hearing<'a> {
    teller: Teller<'a>,
    limits: &'a BuildLimits,
    printed: u64,
    noted: u64,
    told: Told,
}

impl<'a> Hearing<'a> {
    pub(crate) fn new(events: &'a dyn EventSink, limits: &'a BuildLimits) -> Self {
        Self { teller: Teller::new(events), limits, printed: 0, noted: 0, told: None }
    }

    /// Takes one line. What is no message is shown as output, since only a build can have written it.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line.len() > MESSAGE_MAX {
            return Err(fault::result_too_large());
        }
        let message = serde_json::from_slice(line);
        match &message {
            // A line feed for each line: empty ones are output too.
            Ok(Message::Output { line, .. }) => self.printed += line.len() as u64 + 1,
            Ok(Message::Done { .. } | Message::Failed { .. }) => {}
            Ok(_) => self.noted += line.len() as u64,
            Err(_) => self.printed += line.len() as u64,
        }
        if self.printed > self.limits.output_bytes || self.noted > NOTES {
            return Err(fault::too_much_output(self.limits));
        }
        match message {
            Ok(Message::Done { outcome }) => self.told = Some(Ok(outcome)),
            Ok(Message::Failed { failure }) => self.told = Some(Err(failure)),
            Ok(message) => self.teller.tell(message),
            Err(_) => self.teller.stray(&String::from_utf8_lossy(line)),
        }
        Ok(())
    }

    /// Takes one line of a place where the outcome has another way.
    pub(crate) fn line_without_outcome(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.line(line)?;
        self.told.take_if(|told| told.is_ok());
        Ok(())
    }

    /// How it went.
    pub(crate) fn end(self) -> Told {
        self.told
    }
}

/// Hears all of a stream.
pub(crate) async fn listen(
    messages: impl AsyncRead + Unpin,
    mut hearing: Hearing<'_>,
) -> Result<Told, Fault> {
    let mut reader = BufReader::new(messages);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MESSAGE_MAX as u64 + 1;
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line).await;
        if read.map_err(fault::platform("hear its lifecycle"))? == 0 {
            return Ok(hearing.end());
        }
        hearing.line(&line)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a build that tells these lines comes to, where it may print 1000 bytes.
    async fn hear(lines: String) -> Result<Told, Fault> {
        let limits = BuildLimits { output_bytes: 1000, ..BuildLimits::default() };
        listen(lines.as_bytes(), Hearing::new(&|_| {}, &limits)).await
    }

    #[tokio::test]
    async fn only_what_is_printed_counts_as_output() {
        let json = |message: &Message| serde_json::to_string(message).unwrap() + "\n";
        let output = |line: &str| {
            json(&Message::Output { buildpack: "test/a".parse().unwrap(), line: line.to_owned() })
        };
        let label = hythe_cnb::launch::Label { key: "k".into(), value: "v".repeat(5000) };
        let outcome = Outcome { labels: vec![label], ..Outcome::default() };
        let done = json(&Message::Done { outcome });
        let within = output(&"x".repeat(99)).repeat(10) + &done;
        assert!(within.len() > 6000 && matches!(hear(within).await, Ok(Some(Ok(_)))));
        let started = json(&Message::Started { buildpack: "test/a".parse().unwrap() });
        let beyond = [output(&"x".repeat(100)).repeat(10), output("").repeat(1001), "stray\n".repeat(200)];
        for lines in beyond.into_iter().chain([started.repeat(40_000)]) {
            assert_eq!(hear(lines + &done).await.unwrap_err().id, "build/too-much-output");
        }
    }
}
