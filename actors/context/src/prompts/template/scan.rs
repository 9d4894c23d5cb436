//! The tags of a template and their tokens.

use super::WORDS;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Text,
    Sign,
}

/// A token of a tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// The place after it in the template, in bytes.
    pub(super) end: usize,
    /// The parentheses, brackets and braces around it.
    depth: usize,
}

/// A tag: `{{ … }}` or `{% … %}`.
#[derive(Debug)]
pub(super) struct Tag<'a> {
    pub(super) is_block: bool,
    pub(super) line: usize,
    pub(super) tokens: Vec<Token<'a>>,
}

impl<'a> Tag<'a> {
    /// Returns the name of the statement; empty if the tag is an expression.
    pub(super) fn statement(&self) -> &'a str {
        let first = self.tokens.first().filter(|_| self.is_block);
        first.map_or("", |token| token.text)
    }

    /// Returns the index of the `=` of an assignment.
    pub(super) fn assignment(&self) -> Option<usize> {
        let mut tokens = self.tokens.iter();
        tokens.position(|token| token.text == "=" && token.depth == 0)
    }

    pub(super) fn depth_of(&self, index: usize) -> usize {
        self.tokens.get(index).map_or(0, |token| token.depth)
    }

    /// Returns `true` if this is the name of a test.
    pub(super) fn is_test(&self, index: usize) -> bool {
        let word = |back: usize| {
            let token = index
                .checked_sub(back)
                .and_then(|index| self.tokens.get(index));
            token
                .filter(|token| token.kind == Kind::Word)
                .map_or("", |token| token.text)
        };
        let is_name = !matches!(word(0), "" | "not");
        is_name && (word(1) == "is" || (word(1) == "not" && word(2) == "is"))
    }

    /// Returns `true` if the word before a parenthesis is the name of a function.
    pub(super) fn is_call(&self, index: usize) -> bool {
        let before = index
            .checked_sub(1)
            .and_then(|index| self.tokens.get(index));
        let is_part = before.is_some_and(|token| token.text == "." && token.kind == Kind::Sign);
        let word = self.tokens.get(index).map_or("", |token| token.text);
        let is_statement = index == 0 && self.is_block;
        !is_part && !is_statement && !WORDS.contains(&word)
    }

    /// Returns the end of the value that begins at an index; `None` if it is a number or a text.
    pub(super) fn operand_end(&self, from: usize) -> Option<usize> {
        let mut index = from;
        let sign = |index: usize| {
            let token = self.tokens.get(index);
            token
                .filter(|token| token.kind == Kind::Sign)
                .map_or("", |token| token.text)
        };
        while matches!(sign(index), "-" | "+") {
            index += 1;
        }
        let first = self.tokens.get(index)?;
        let mut last = match first.kind {
            Kind::Number | Kind::Text if !matches!(sign(index + 1), "[" | "(" | "." | "|") => {
                return None;
            }
            Kind::Sign if matches!(first.text, "(" | "[" | "{") => self.group_end(index)?,
            Kind::Sign => return None,
            Kind::Word if WORDS.contains(&first.text) => return None,
            Kind::Word | Kind::Number | Kind::Text => index,
        };
        loop {
            last = match sign(last + 1) {
                "." | "|" => last + 2,
                "(" | "[" => self.group_end(last + 1)?,
                _ => break,
            };
        }
        self.tokens.get(last).map(|token| token.end)
    }

    /// Returns the index of the sign that closes a group.
    fn group_end(&self, from: usize) -> Option<usize> {
        let depth = self.tokens.get(from)?.depth;
        let rest = self.tokens.iter().enumerate().skip(from + 1);
        let mut rest = rest.filter(|(_, token)| token.kind == Kind::Sign && token.depth == depth);
        rest.find(|(_, token)| matches!(token.text, ")" | "]" | "}"))
            .map(|(index, _)| index)
    }
}

/// A scan over a template.
pub(super) struct Scan<'a> {
    template: &'a str,
    place: usize,
    line: usize,
    /// The place up to which lines were counted.
    counted: usize,
    /// As the lexer counts: a tag ends only where this is 0.
    balance: isize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(template: &'a str) -> Self {
        Self {
            template,
            place: 0,
            line: 1,
            counted: 0,
            balance: 0,
        }
    }

    /// Hands over each tag, in order. A tag that does not end is handed over as far as it goes; compiling it fails.
    pub(super) fn each(
        mut self,
        tokens_max: usize,
        brackets_max: usize,
        mut see: impl FnMut(&Tag<'a>) -> Result<(), String>,
    ) -> Result<(), String> {
        while let Some(start) = self.next_start() {
            match self.rest().as_bytes().get(1) {
                Some(b'#') => self.skip_comment(),
                Some(b'%') if self.skip_raw() => {}
                kind => {
                    let is_block = kind == Some(&b'%');
                    self.count_lines(start);
                    let tag = self.tag(is_block, tokens_max, brackets_max)?;
                    see(&tag)?;
                }
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        self.template.get(self.place..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.place = (self.place + bytes).min(self.template.len());
    }

    fn count_lines(&mut self, to: usize) {
        let passed = self.template.get(self.counted..to).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', passed.as_bytes()).count();
        self.counted = to;
    }

    /// Goes to the next `{{`, `{%` or `{#`.
    fn next_start(&mut self) -> Option<usize> {
        loop {
            let offset = memchr::memchr(b'{', self.rest().as_bytes())?;
            self.advance(offset);
            match self.rest().as_bytes().get(1) {
                Some(b'{' | b'%' | b'#') => return Some(self.place),
                _ => self.advance(1),
            }
        }
    }

    fn skip_comment(&mut self) {
        let end = self.rest().get(2..).and_then(|rest| rest.find("#}"));
        let bytes = end.map_or(self.template.len(), |end| end + 4);
        self.advance(bytes);
    }

    /// Skips a raw block; returns `false` if none begins here.
    fn skip_raw(&mut self) -> bool {
        let Some(length) = basic_tag(self.rest(), "raw") else {
            return false;
        };
        self.advance(length);
        while let Some(offset) = self.rest().find("{%") {
            self.advance(offset);
            if let Some(length) = basic_tag(self.rest(), "endraw") {
                self.advance(length);
                return true;
            }
            self.advance(2);
        }
        self.place = self.template.len();
        true
    }

    /// Reads a tag from its beginning to its end.
    fn tag(
        &mut self,
        is_block: bool,
        tokens_max: usize,
        brackets_max: usize,
    ) -> Result<Tag<'a>, String> {
        let end = if is_block { "%}" } else { "}}" };
        self.advance(2);
        if self.rest().starts_with(['-', '+']) {
            self.advance(1);
        }
        let mut tag = Tag {
            is_block,
            line: self.line,
            tokens: Vec::new(),
        };
        let wrong = |what: String| Err(format!("{what} (in line {})", tag.line));
        let mut depth = 0_usize;
        loop {
            let rest = self.rest().trim_ascii_start();
            self.place = self.template.len() - rest.len();
            let Some(first) = rest.chars().next() else {
                return Ok(tag);
            };
            let unsigned = rest.strip_prefix(['-', '+']).unwrap_or(rest);
            if self.balance == 0 && (unsigned.starts_with(end) || rest.starts_with(end)) {
                self.advance(rest.len() - unsigned.len() + end.len());
                return Ok(tag);
            }
            let (kind, length) = token(rest, first);
            self.advance(length);
            let text = rest.get(..length).unwrap_or_default();
            if kind == Kind::Sign && matches!(first, '(' | '[' | '{') {
                self.balance += 1;
            }
            if kind == Kind::Sign && matches!(first, ')' | ']' | '}') {
                self.balance -= 1;
                depth = depth.saturating_sub(1);
            }
            tag.tokens.push(Token {
                kind,
                text,
                end: self.place,
                depth,
            });
            if kind == Kind::Sign && matches!(first, '(' | '[' | '{') {
                depth += 1;
            }
            if tag.tokens.len() > tokens_max {
                return wrong(format!("a tag has more than {tokens_max} tokens"));
            }
            if depth > brackets_max {
                return wrong(format!(
                    "more than {brackets_max} parentheses or brackets are within each other"
                ));
            }
        }
    }
}

/// Returns the length of a tag that consists of one word.
fn basic_tag(text: &str, word: &str) -> Option<usize> {
    let rest = text.strip_prefix("{%")?;
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let rest = rest.trim_ascii_start().strip_prefix(word)?;
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let rest = rest.strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// Returns the kind and the length of the token at the beginning of a text.
fn token(rest: &str, first: char) -> (Kind, usize) {
    let length_of =
        |part: fn(char) -> bool| rest.find(|letter| !part(letter)).unwrap_or(rest.len());
    if first == '_' || first.is_alphabetic() {
        return (
            Kind::Word,
            length_of(|letter| letter == '_' || letter.is_alphanumeric()),
        );
    }
    if first.is_ascii_digit() {
        let whole = length_of(|letter| letter == '_' || letter.is_ascii_alphanumeric());
        let fraction = rest.get(whole..).and_then(|rest| rest.strip_prefix('.'));
        let digits = fraction.map_or(0, |fraction| {
            let is_digit = |letter: char| letter.is_ascii_digit();
            let length = fraction.find(|letter| !is_digit(letter));
            length.unwrap_or(fraction.len())
        });
        let length = if digits > 0 {
            whole + 1 + digits
        } else {
            whole
        };
        return (Kind::Number, length);
    }
    if first == '"' || first == '\'' {
        let mut escaped = false;
        let mut inside = rest.char_indices().skip(1);
        let end = inside.find(|(_, letter)| {
            let ends = !escaped && *letter == first;
            escaped = !escaped && *letter == '\\';
            ends
        });
        return (Kind::Text, end.map_or(rest.len(), |(place, _)| place + 1));
    }
    let two = rest.get(..2).unwrap_or_default();
    let is_double = matches!(two, "//" | "**" | "==" | "!=" | ">=" | "<=");
    (Kind::Sign, if is_double { 2 } else { first.len_utf8() })
}
