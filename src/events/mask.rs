//! Secrets replaced before a line is stored.

use hythe_model::BuildEvent;

/// Replaces secret values in text by `[masked]`. Cheap to clone; holds the values, and shows none in `Debug`.
#[derive(Clone, Default)]
pub struct Masker {}

impl Masker {
    /// A masker of these values. Values under four characters are not masked: they would blacken every line.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let _ = values.into_iter().count();
        todo!()
    }

    /// The text with every value replaced.
    pub fn mask(&self, text: &str) -> String {
        todo!("{text}")
    }

    /// The event with every text in it masked.
    pub fn mask_event(&self, event: BuildEvent) -> BuildEvent {
        todo!("{event:?}")
    }
}

/// Makes masked lines of chunks of bytes, however a secret or a character is split between them.
pub struct MaskedLines {}

impl MaskedLines {
    /// Lines of at most `line_bytes` bytes; longer ones are cut, never inside a secret.
    pub fn new(masker: Masker, line_bytes: usize) -> Self {
        let _ = masker;
        todo!("{line_bytes}")
    }

    /// Takes a chunk; answers the lines that it completes.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        todo!("{}", chunk.len())
    }

    /// The last line, where it had no end.
    pub fn finish(&mut self) -> Option<String> {
        todo!()
    }
}
