//! One running text of a stream.

use std::{collections::VecDeque, ops::Range};

use kebne_wire::texts::Form;

use crate::{
    rules::{Hits, Refused, Rules},
    scan::Scan,
    settings::Action,
};

/// A text that has paused is passed on, though a match in it is open, when other texts have gone on in its place: after
/// this many pieces of them that have together at least [`PAUSE_SIZE`] bytes. Otherwise the end of the reasoning would hold
/// back the answer.
const PAUSE_PIECES: usize = 8;
const PAUSE_SIZE: usize = 64;

/// A running text. A run is the text up to an event that ends it; what follows is the next run.
#[derive(Debug)]
pub(super) struct Channel {
    /// The choice or block that it belongs to.
    pub(super) group: String,
    pub(super) form: Form,
    scan: Scan,
    /// The run so far, if it is JSON.
    json: String,
    /// The position at which the run began, and the end of the text so far.
    begun: usize,
    size: usize,
    /// The position up to which the text has been passed on because it has paused.
    released: usize,
    /// The pieces of other texts since the last one of this, and their bytes.
    paused: (usize, usize),
    /// The changes that have not been passed on, in order.
    edits: VecDeque<(Range<usize>, String)>,
    refused: Option<Refused>,
}

impl Channel {
    pub(super) fn new(group: String, form: Form) -> Self {
        Self {
            group,
            form,
            scan: Scan::default(),
            json: String::new(),
            begun: 0,
            size: 0,
            released: 0,
            paused: (0, 0),
            edits: VecDeque::new(),
            refused: None,
        }
    }

    /// Returns the rule that refuses the text.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused.clone()
    }

    /// Returns the size of the JSON that is held back.
    pub(super) fn json_size(&self) -> usize {
        self.json.len()
    }

    /// Returns the position up to which the text is decided.
    pub(super) fn decided(&self) -> usize {
        self.released.max(self.begun + self.scan.decided())
    }

    /// Takes note of pieces of other texts of the same group. A match that is found later is masked from here on.
    pub(super) fn pause(&mut self, pieces: usize, size: usize) {
        self.paused.0 += pieces;
        self.paused.1 += size;
        if self.paused.0 >= PAUSE_PIECES && self.paused.1 >= PAUSE_SIZE && self.form == Form::Plain
        {
            self.released = self.size;
        }
    }

    /// Takes the next piece. Returns its position.
    pub(super) fn feed(&mut self, rules: &Rules, piece: &str, hits: &mut Hits) -> Range<usize> {
        let range = self.size..self.size + piece.len();
        self.size = range.end;
        self.paused = (0, 0);
        if self.form == Form::Json {
            self.json.push_str(piece);
        } else {
            self.search(rules, piece, false, hits);
        }
        range
    }

    /// Ends the run.
    pub(super) fn end(&mut self, rules: &Rules, hits: &mut Hits) {
        if self.begun == self.size || self.refused.is_some() {
            return;
        }
        if self.form == Form::Json {
            match rules.json(&self.json, hits) {
                Ok(Some(masked)) => self.edits.push_back((self.begun..self.size, masked)),
                Ok(None) => {}
                Err(refused) => {
                    self.refused = Some(refused);
                    return;
                }
            }
            self.json.clear();
        } else {
            self.search(rules, "", true, hits);
        }
        if self.refused.is_none() {
            self.begun = self.size;
            self.scan = Scan::default();
        }
    }

    fn search(&mut self, rules: &Rules, piece: &str, is_last: bool, hits: &mut Hits) {
        let mut found = Vec::new();
        self.scan.feed(rules.list(), piece, is_last, &mut found);
        for one in found {
            rules.note(&one, hits);
            let rule = rules.rule(&one);
            if rule.action == Action::Mask {
                let start = self.released.max(self.begun + one.range.start);
                let range = start..self.begun + one.range.end;
                if !range.is_empty() {
                    self.edits.push_back((range, rule.replacement.clone()));
                }
            }
            self.refused = self.refused.take().or(rules.refusal(&one));
        }
    }

    /// Returns a piece with the changes that concern it; `None` if it stays as it is. Pieces must be asked for in their
    /// order. What takes the place of several pieces is put into the first.
    pub(super) fn edited(&mut self, range: &Range<usize>, piece: &str) -> Option<String> {
        let mut edited = String::new();
        let mut place = range.start;
        let mut is_changed = false;
        while let Some((span, replacement)) = self.edits.front() {
            if span.start >= range.end {
                break;
            }
            is_changed = true;
            if span.start >= range.start {
                edited.push_str(&piece[place - range.start..span.start - range.start]);
                edited.push_str(replacement);
            }
            place = span.end.min(range.end);
            if span.end > range.end {
                break;
            }
            self.edits.pop_front();
        }
        if !is_changed {
            return None;
        }
        edited.push_str(&piece[place - range.start..]);
        Some(edited)
    }
}
