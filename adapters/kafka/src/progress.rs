//! How far the messages of one partition are.
//!
//! Kafka remembers one offset for each partition: that of the first message that is not done. What is done after it is written into the metadata of the
//! commit, so that the next owner of the partition does not hand it out again. The metadata also counts how many owners have come no further, so that a
//! message that kills whoever works on it is known by the number of its deliveries.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

/// The bytes that the metadata of a commit may have. Kafka takes 4096 by default (`offset.metadata.max.bytes`).
const NOTE_MAX: usize = 3500;
/// The longest run of offsets that a note is believed to have. More would be a note that somebody else has written.
const RUN_MAX: i64 = 1 << 20;
/// The version of the notes.
const VERSION: &str = "kebne1";

/// The offsets of one partition that are not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Offsets of messages that have come and are not done.
    pending: BTreeSet<i64>,
    /// Offsets that an earlier owner has noted as not done, and that have not come yet.
    expected: BTreeSet<i64>,
    /// The offset after the last one that is known; `None` before anything is known.
    until: Option<i64>,
    /// The offset up to which an earlier owner has taken messages.
    noted: i64,
    /// The committed offset at the takeover.
    start: Option<i64>,
    /// The owners before this one who have not brought the committed offset further.
    takeovers: u64,
}

/// What is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The offset of the first message that is not done.
    pub(crate) offset: i64,
    /// What is done after it.
    pub(crate) note: String,
}

impl Progress {
    /// Goes on where an earlier owner was.
    pub(crate) fn take_over(committed: Option<(i64, &str)>) -> Self {
        let Some((offset, note)) = committed else {
            return Self::default();
        };
        let note = Note::read(offset, note).unwrap_or_else(|| Note::empty(offset));
        Self {
            pending: BTreeSet::new(),
            expected: note.not_done,
            until: Some(note.until),
            noted: note.until,
            start: Some(offset),
            takeovers: note.takeovers,
        }
    }

    /// Notes that a message has come. Returns `true` if it is to be done, and `false` if an earlier owner has done it.
    pub(crate) fn come(&mut self, offset: i64) -> bool {
        // Messages come in their order: what has not come until now has left the topic.
        self.expected = self.expected.split_off(&offset);
        let is_new = self.expected.remove(&offset) || offset >= self.noted;
        self.until = Some(self.until.map_or(offset + 1, |until| until.max(offset + 1)));
        if is_new {
            self.pending.insert(offset);
        }
        is_new
    }

    /// Returns how often earlier owners have taken a message without bringing the partition further.
    pub(crate) fn attempts_before(&self, offset: i64) -> u64 {
        if offset < self.noted {
            self.takeovers
        } else {
            0
        }
    }

    /// Notes that a message is done.
    pub(crate) fn done(&mut self, offset: i64) {
        self.pending.remove(&offset);
    }

    /// Returns what is to be committed; `None` before anything is known.
    pub(crate) fn position(&self) -> Option<Position> {
        let until = self.until?;
        let firsts = [self.pending.first(), self.expected.first()];
        let offset = firsts.into_iter().flatten().min().copied();
        let offset = offset.unwrap_or(until);
        let is_further = self.start.is_none_or(|start| offset > start);
        let takeovers = if is_further { 0 } else { self.takeovers };
        let not_done = self.pending.union(&self.expected).copied();
        Some(Position {
            offset,
            note: note(offset, until, takeovers, not_done),
        })
    }
}

/// What an earlier owner has written into a commit.
struct Note {
    /// The takeovers, that of the reader included.
    takeovers: u64,
    until: i64,
    not_done: BTreeSet<i64>,
}

impl Note {
    fn empty(offset: i64) -> Self {
        Self {
            takeovers: 0,
            until: offset,
            not_done: BTreeSet::new(),
        }
    }

    /// Reads a note; `None` if it is none of this version.
    fn read(offset: i64, text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        (parts.next()? == VERSION).then_some(())?;
        let takeovers: u64 = parts.next()?.parse().ok()?;
        let mut at = offset;
        let mut not_done = BTreeSet::new();
        for run in parts {
            let (length, gap) = run.split_once('+')?;
            let (length, gap): (i64, i64) = (length.parse().ok()?, gap.parse().ok()?);
            let fits = 0..=RUN_MAX;
            if !fits.contains(&length) || !fits.contains(&gap) {
                return None;
            }
            not_done.extend(at..at + length);
            at += length + gap;
        }
        Some(Self {
            takeovers: takeovers.saturating_add(1),
            until: at,
            not_done,
        })
    }
}

/// Writes a note: the takeovers, and then runs of offsets that are not done, each with the number of those that follow and are done. What has no room is
/// left out at the end, and so is done again.
fn note(offset: i64, until: i64, takeovers: u64, not_done: impl Iterator<Item = i64>) -> String {
    let mut text = format!("{VERSION} {takeovers}");
    let mut runs = Runs {
        text: &mut text,
        length: 0,
    };
    let mut at = offset;
    for place in not_done {
        if place > at && runs.end(place - at).is_err() {
            return text;
        }
        runs.length += 1;
        at = place + 1;
    }
    match runs.end(until - at) {
        // A note without the last run is one of fewer offsets.
        Ok(()) | Err(fmt::Error) => text,
    }
}

/// Writes runs as long as there is room.
struct Runs<'a> {
    text: &'a mut String,
    length: i64,
}

impl Runs<'_> {
    fn end(&mut self, gap: i64) -> fmt::Result {
        if self.length == 0 && gap == 0 {
            return Ok(());
        }
        let before = self.text.len();
        write!(self.text, " {}+{gap}", self.length)?;
        self.length = 0;
        if self.text.len() > NOTE_MAX {
            self.text.truncate(before);
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_over(progress: &Progress) -> Progress {
        let position = progress.position().unwrap();
        Progress::take_over(Some((position.offset, &position.note)))
    }

    #[test]
    fn the_first_message_that_is_not_done_is_committed() {
        let mut progress = Progress::take_over(None);
        assert_eq!(progress.position(), None);
        for offset in 10..20 {
            assert!(progress.come(offset));
        }
        assert_eq!(progress.position().unwrap().offset, 10);
        progress.done(11);
        assert_eq!(progress.position().unwrap().offset, 10);
        progress.done(10);
        assert_eq!(progress.position().unwrap().offset, 12);
        for offset in 12..20 {
            progress.done(offset);
        }
        assert_eq!(progress.position().unwrap().offset, 20);
    }

    #[test]
    fn the_next_owner_is_not_given_what_is_done_further_on() {
        let mut progress = Progress::take_over(None);
        // Offset 14 is no message, for example the end of a transaction.
        for offset in (10..20).filter(|&offset| offset != 14) {
            progress.come(offset);
        }
        for offset in [11, 13, 15, 16, 19] {
            progress.done(offset);
        }
        let mut next = take_over(&progress);
        assert_eq!(next.position().unwrap().offset, 10);
        let comes: Vec<i64> = (10..22).filter(|&offset| next.come(offset)).collect();
        assert_eq!(comes, [10, 12, 17, 18, 20, 21]);
        let attempts = [10, 18, 20].map(|offset| next.attempts_before(offset));
        assert_eq!(attempts, [1, 1, 0]);
        // One who takes over in the middle of coming loses nothing of the note.
        let mut half = take_over(&progress);
        half.come(10);
        half.done(10);
        let mut next = take_over(&half);
        let comes: Vec<i64> = (12..22).filter(|&offset| next.come(offset)).collect();
        assert_eq!(comes, [12, 17, 18, 20, 21]);
    }

    #[test]
    fn takeovers_are_counted_until_the_partition_gets_further() {
        let mut progress = Progress::take_over(None);
        progress.come(5);
        progress.come(6);
        for owner in 1..=3 {
            progress = take_over(&progress);
            assert!(progress.come(5) && progress.come(6));
            assert_eq!(progress.attempts_before(5), owner);
        }
        progress.done(5);
        progress = take_over(&progress);
        progress.come(6);
        assert_eq!(progress.attempts_before(6), 1);
    }

    #[test]
    fn what_has_left_the_topic_holds_nothing_up() {
        let mut progress = Progress::take_over(None);
        for offset in 0..5 {
            progress.come(offset);
        }
        let mut next = take_over(&progress);
        assert!(next.come(100));
        assert_eq!(next.position().unwrap().offset, 100);
    }

    #[test]
    fn a_note_without_room_leaves_out_what_is_done_at_the_end() {
        let mut progress = Progress::take_over(None);
        for offset in 0..10_000 {
            progress.come(offset);
        }
        for offset in (1..10_000).step_by(2) {
            progress.done(offset);
        }
        let position = progress.position().unwrap();
        assert!(position.note.len() <= NOTE_MAX);
        let mut next = take_over(&progress);
        let comes: Vec<i64> = (0..10_000).filter(|&offset| next.come(offset)).collect();
        assert!((0..10_000).step_by(2).all(|offset| comes.contains(&offset)));
        assert!(comes.len() < 9500, "{}", comes.len());
        assert!(!comes.contains(&1));
    }

    #[test]
    fn notes_of_others_are_ignored() {
        for text in [
            "",
            "kebne1",
            "kebne2 0",
            "kebne1 x",
            "kebne1 0 1",
            "kebne1 0 9999999999+1",
        ] {
            let mut progress = Progress::take_over(Some((7, text)));
            assert_eq!(progress.position().unwrap().offset, 7, "{text}");
            assert!(progress.come(7), "{text}");
            assert_eq!(progress.attempts_before(7), 0, "{text}");
        }
    }
}
