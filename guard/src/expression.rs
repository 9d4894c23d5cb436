//! One regular expression, ready to be used: where in a text it matches.
//!
//! A match is found within a window: whether a rule matches at a place depends only on the character before it and on
//! the `window` bytes from there on, with one more character. The result is therefore the same for a text as a whole and
//! for a stream of its parts, and the end of a text whose matches are open is never longer than the window.

use std::{fmt, ops::Range, sync::Arc};

use regex_automata::{
    Anchored, Input, hybrid,
    hybrid::dfa::{Cache, DFA},
    meta,
    nfa::thompson,
    util::{pool::Pool, syntax},
};

use crate::{candidate::Candidate, pattern::Pattern};

/// The most memory of a compiled regular expression.
const REGEX_SIZE_MAX: usize = 1 << 20;
/// The most memory for the states of a regular expression that are found while it runs.
const STATES_SIZE_MAX: usize = 1 << 20;
/// The times that these states are found anew before the expression counts as one that can always go on.
const STATES_CLEARED_MAX: usize = 64;
/// The bytes of the longest character: what is needed after a window to know its boundary.
const CHARACTER: usize = 4;
/// The bytes that are searched for the beginning of a match at once, besides the window.
const BLOCK: usize = 1024;

/// A reason why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The regular expression is wrong.
    #[error("is not a regular expression: {0}")]
    Invalid(String),
    /// The compiled expression needs too much memory.
    #[error("is too large when compiled; fewer or smaller repetitions help")]
    TooLarge,
    /// It matches the empty text.
    #[error("must not match the empty text")]
    Empty,
    /// Each match is longer than the window.
    #[error("can never match: the shortest match is longer than `window`")]
    TooLong,
}

type Caches = Pool<
    Cache,
    Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>,
>;

/// The states of a regular expression, to find out whether a match could go on in the next part of a stream.
struct States {
    dfa: Arc<DFA>,
    caches: Caches,
}

/// A regular expression, with the pattern that has the last word.
pub(crate) struct Expression {
    regex: meta::Regex,
    /// `None` if a match must be assumed to go on always.
    states: Option<States>,
    pattern: Option<Pattern>,
    window: usize,
}

impl Expression {
    /// Compiles an expression, or that of a pattern.
    ///
    /// # Errors
    /// Returns an error if it cannot be used.
    pub(crate) fn new(
        regex: Option<&str>,
        pattern: Option<Pattern>,
        window: usize,
    ) -> Result<Self, RuleError> {
        let text = regex.or(pattern.map(Pattern::regex)).unwrap_or_default();
        let invalid = |error: String| RuleError::Invalid(last_line(&error).to_owned());
        let parsed = regex_syntax::Parser::new().parse(text);
        let parsed = parsed.map_err(|error| invalid(error.to_string()))?;
        match parsed.properties().minimum_len() {
            Some(0) => return Err(RuleError::Empty),
            Some(least) if least > window => return Err(RuleError::TooLong),
            _ => {}
        }
        let config = meta::Config::new()
            .nfa_size_limit(Some(REGEX_SIZE_MAX))
            .hybrid_cache_capacity(STATES_SIZE_MAX);
        let regex = meta::Builder::new().configure(config).build(text);
        let regex = regex.map_err(|error| match error.size_limit() {
            Some(_) => RuleError::TooLarge,
            None => invalid(error.to_string()),
        })?;
        Ok(Self {
            regex,
            states: States::of(text),
            pattern,
            window,
        })
    }

    /// Returns `true` for the expression of a known pattern.
    pub(crate) fn is_pattern(&self) -> bool {
        self.pattern.is_some()
    }

    /// Returns the first match that begins at or after `from`.
    pub(crate) fn find(&self, text: &str, mut from: usize) -> Option<Range<usize>> {
        let block = BLOCK.max(self.window);
        while from < text.len() {
            let end = floor(text, from.saturating_add(block + self.window));
            let input = Input::new(text).span(from..end);
            let Some(found) = self.regex.search(&input) else {
                from = floor(text, from.saturating_add(block));
                continue;
            };
            let start = found.start();
            if let Some(size) = self.size_at(text, start..found.end()) {
                return Some(start..start + size);
            }
            from = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
        None
    }

    /// Returns the size of the match at the beginning of what was found without a window.
    fn size_at(&self, text: &str, found: Range<usize>) -> Option<usize> {
        let start = found.start;
        let window = floor(text, start.saturating_add(self.window));
        let end = if found.end <= window {
            found.end
        } else {
            // What follows the character after the window must not matter.
            let seen = window.saturating_add(CHARACTER).min(text.len());
            let input = Input::new(&text.as_bytes()[..seen]).span(start..window);
            self.regex.search(&input.anchored(Anchored::Yes))?.end()
        };
        let matched = text.get(start..end).filter(|text| !text.is_empty())?;
        let Some(pattern) = self.pattern else {
            return Some(matched.len());
        };
        let candidate = Candidate {
            before: text[..start].chars().next_back(),
            text: matched,
            after: text[end..].chars().next(),
        };
        pattern.check(&candidate)
    }

    /// Returns the first place at or after `from` where a match could begin that more text would change.
    pub(crate) fn open_from(&self, text: &str, from: usize) -> Option<usize> {
        // A window that has arrived as a whole is decided.
        let undecided = (text.len() + 1).saturating_sub(self.window + CHARACTER);
        let start = text.ceil_char_boundary(from.max(undecided));
        let Some(states) = &self.states else {
            return Some(start).filter(|start| *start < text.len());
        };
        let mut cache = states.caches.get();
        let mut places = text.get(start..)?.char_indices();
        places
            .find(|(place, _)| states.goes_on(&mut cache, text, start + place))
            .map(|(place, _)| start + place)
    }
}

impl States {
    fn of(text: &str) -> Option<Self> {
        let config = hybrid::dfa::Config::new()
            .unicode_word_boundary(true)
            .skip_cache_capacity_check(true)
            .cache_capacity(STATES_SIZE_MAX)
            .minimum_cache_clear_count(Some(STATES_CLEARED_MAX));
        let dfa = DFA::builder()
            .configure(config)
            .syntax(syntax::Config::new())
            .thompson(thompson::Config::new().nfa_size_limit(Some(REGEX_SIZE_MAX)))
            .build(text)
            .ok()?;
        let dfa = Arc::new(dfa);
        let creator = Arc::clone(&dfa);
        Some(Self {
            dfa,
            caches: Pool::new(Box::new(move || creator.create_cache())),
        })
    }

    /// Returns `true` if a match that begins at `start` could go on after the end of the text.
    fn goes_on(&self, cache: &mut Cache, text: &str, start: usize) -> bool {
        let input = Input::new(text).span(start..text.len());
        let input = input.anchored(Anchored::Yes);
        let Ok(mut state) = self.dfa.start_state_forward(cache, &input) else {
            return true;
        };
        for byte in &text.as_bytes()[start..] {
            let Ok(next) = self.dfa.next_state(cache, state, *byte) else {
                return true;
            };
            if next.is_dead() {
                return false;
            }
            if next.is_quit() {
                return true;
            }
            state = next;
        }
        !state.is_dead()
    }
}

/// Returns the place, or the nearest boundary of a character before it; at most the end.
fn floor(text: &str, place: usize) -> usize {
    text.floor_char_boundary(place)
}

/// Returns the last line of an error, which says what is wrong; the lines before it show the expression.
fn last_line(text: &str) -> &str {
    let line = text.trim_end().lines().next_back().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Expression").finish_non_exhaustive()
    }
}
