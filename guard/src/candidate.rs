//! What a regular expression has found, before a pattern has looked at it.

/// A text that a regular expression has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// The character before it.
    pub(crate) before: Option<char>,
    pub(crate) text: &'a str,
    /// The character after it.
    pub(crate) after: Option<char>,
}
