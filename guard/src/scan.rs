//! Searches for the matches of several rules in one text that arrives in parts.

use std::{ops::Range, sync::Arc};

use crate::{
    rule::{Rule, Seen},
    settings::Action,
};

/// The bytes that are kept before what is undecided: the longest character, for rules that look at it.
const CONTEXT: usize = 4;

/// The place of a match that does not exist.
const NOTHING: Range<usize> = usize::MAX..usize::MAX;

/// A match of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Its position in the whole text.
    pub(crate) range: Range<usize>,
    /// The place of the rule in its list.
    pub(crate) rule: usize,
}

/// One text that arrives in parts. The match that begins first counts; of those that begin at the same place, that of
/// the first rule. Matches do not overlap.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The end of the text: some context, and what is undecided.
    text: String,
    /// The position of `text` in the whole.
    base: usize,
    /// The position up to which all matches are known.
    decided: usize,
    /// `true` if a match refuses the text. Nothing after it is looked at.
    is_refused: bool,
}

/// The next match of one rule, and the first place where its matches are open, as far as they are known.
#[derive(Clone, Default)]
struct Outlook {
    /// [`NOTHING`] if there is no further match.
    next: Option<Range<usize>>,
    open: Option<usize>,
}

impl Scan {
    /// Returns the position up to which all matches are known.
    pub(crate) fn decided(&self) -> usize {
        self.decided
    }

    /// Takes the next part, or the last one. The matches that are known now are added to `found`.
    pub(crate) fn feed(
        &mut self,
        rules: &[Arc<Rule>],
        part: &str,
        is_last: bool,
        found: &mut Vec<Match>,
    ) {
        if self.is_refused {
            return;
        }
        self.text.push_str(part);
        let seen = Seen::of(&self.text);
        let mut place = self.decided - self.base;
        let mut outlooks = vec![Outlook::default(); rules.len()];
        loop {
            let mut open = self.text.len();
            let mut first: Option<Match> = None;
            for (rule, outlook) in outlooks.iter_mut().enumerate() {
                outlook.look(&rules[rule], &seen, place, is_last);
                open = open.min(outlook.open.unwrap_or(open));
                if let Some(range) = outlook.next.as_ref().filter(|range| **range != NOTHING)
                    && first
                        .as_ref()
                        .is_none_or(|one| range.start < one.range.start)
                {
                    let range = range.clone();
                    first = Some(Match { range, rule });
                }
            }
            let Some(mut known) = first.filter(|one| one.range.start < open) else {
                place = open;
                break;
            };
            place = known.range.end;
            self.is_refused = rules[known.rule].action == Action::Refuse;
            if self.is_refused {
                place = known.range.start;
            }
            known.range = self.base + known.range.start..self.base + known.range.end;
            found.push(known);
            if self.is_refused {
                break;
            }
        }
        self.decided = self.base + place;
        let kept = self.text.floor_char_boundary(place.saturating_sub(CONTEXT));
        self.text.drain(..kept);
        self.base += kept;
    }
}

impl Outlook {
    /// Brings the outlook up to date for the text from `place` on.
    fn look(&mut self, rule: &Rule, seen: &Seen<'_>, place: usize, is_last: bool) {
        if self.next.as_ref().is_none_or(|next| next.start < place) {
            self.next = Some(rule.find(seen, place).unwrap_or(NOTHING));
        }
        if !is_last && self.open.is_none_or(|open| open < place) {
            self.open = Some(rule.open_from(seen, place).unwrap_or(seen.text.len()));
        }
    }
}

#[cfg(test)]
mod tests;
