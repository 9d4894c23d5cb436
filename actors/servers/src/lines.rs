//! The last lines that a server has written, within a bound.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

/// The lines that are kept: enough for the trace of an error.
const LINES_MAX: usize = 200;
/// The bytes of a line that are kept.
const LINE_MAX: usize = 500;

/// The last lines of a server; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    /// Adds a line without its end.
    pub(crate) fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let mut text: String = text.trim_end().chars().map(printable).collect();
        text.truncate(text.floor_char_boundary(LINE_MAX));
        if text.is_empty() {
            return;
        }
        let mut lines = self.lock();
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    /// Returns the last `count` lines, the oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lock();
        let skipped = lines.len().saturating_sub(count);
        lines.iter().skip(skipped).cloned().collect()
    }

    /// Reads lines until the end of `source`. A line that is too long is kept in part.
    pub(crate) async fn read(self, source: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(source);
        let mut line = Vec::with_capacity(LINE_MAX);
        while read_line(&mut reader, &mut line).await {
            self.push(&line);
            line.clear();
        }
        self.push(&line);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads to the end of a line, and keeps its beginning. Returns `false` at the end of the source.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> bool {
    loop {
        let Ok(bytes) = reader.fill_buf().await else {
            return false;
        };
        if bytes.is_empty() {
            return false;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = end.unwrap_or(bytes.len());
        let room = LINE_MAX.saturating_sub(line.len()).min(part);
        line.extend(bytes.iter().take(room));
        reader.consume(part + usize::from(end.is_some()));
        if end.is_some() {
            return true;
        }
    }
}

/// Returns a space for what controls a terminal.
fn printable(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept_within_bounds() {
        let lines = Lines::default();
        let mut text = "a line\n".repeat(LINES_MAX + 50);
        text.push_str(&"x".repeat(1_000_000));
        text.push_str("\n\n\x1b[31mred\nlast");
        lines.clone().read(text.as_bytes()).await;
        assert_eq!(lines.last(usize::MAX).len(), LINES_MAX);
        let last = lines.last(3);
        assert_eq!(last[0].len(), LINE_MAX);
        assert_eq!(last[1..], [" [31mred", "last"]);
    }
}
