//! Words, numbers with their signs, and operators.

/// A part of a text.
pub(super) enum Token {
    /// A word or a number. `begins` is `true` for the first of a sentence.
    Word { text: String, begins: bool },
    /// An operator, or a sign that belongs to a word.
    Sign(String),
}

impl Token {
    /// Returns the text of a word.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word { text, .. } => Some(text),
            Self::Sign(_) => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Sign,
    Open,
    Close,
    Other,
}

/// A run of characters of one kind.
struct Run {
    kind: Kind,
    text: String,
    /// `true` if white space is before it.
    is_apart: bool,
    begins: bool,
}

/// Returns the words and signs of a text.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let runs = runs(text);
    let mut tokens: Vec<Token> = Vec::new();
    let mut is_negative = false;
    for (at, run) in runs.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &runs[before]);
        let before = before.filter(|run| matches!(run.kind, Kind::Word | Kind::Close));
        let next = runs.get(at + 1);
        let next = next.filter(|run| matches!(run.kind, Kind::Word | Kind::Open));
        match run.kind {
            Kind::Word => {
                let number = next.is_some_and(|next| is_number(&next.text));
                match (run.text.to_lowercase().as_str(), tokens.last_mut()) {
                    (
                        "percent" | "pct" | "prozent" | "pourcent" | "procent",
                        Some(Token::Word { text, .. }),
                    ) if is_number(text) => {
                        text.push('%');
                        continue;
                    }
                    ("minus", last)
                        if number
                            && !last
                                .as_ref()
                                .is_some_and(|last| last.word().is_some_and(is_number)) =>
                    {
                        is_negative = true;
                        continue;
                    }
                    _ => {}
                }
                let minus = if std::mem::take(&mut is_negative) {
                    "-"
                } else {
                    ""
                };
                tokens.push(Token::Word {
                    text: format!("{minus}{}", run.text),
                    begins: run.begins,
                });
            }
            Kind::Sign => {
                let found = sign(run, (before, next));
                match (found, tokens.last_mut()) {
                    (Some(Found::Percent), Some(Token::Word { text, .. })) => text.push('%'),
                    (Some(Found::Percent), _) => tokens.push(Token::Sign("%".to_owned())),
                    (Some(Found::Negative), _) => is_negative = true,
                    (Some(Found::Operator(text)), _) => tokens.push(Token::Sign(text)),
                    (None, _) => {}
                }
            }
            _ => {}
        }
    }
    tokens
}

/// What a run of signs is.
enum Found {
    /// It belongs to the number before.
    Percent,
    /// The number behind it is negative.
    Negative,
    Operator(String),
}

/// Returns what a run of signs between these is; `None` if it means nothing.
fn sign(run: &Run, (before, next): (Option<&Run>, Option<&Run>)) -> Option<Found> {
    let text = run.text.as_str();
    let operator = || Some(Found::Operator(text.to_owned()));
    let is_near = (
        before.is_some() && !run.is_apart,
        next.is_some_and(|next| !next.is_apart),
    );
    let is_even = before.is_some() && next.is_some() && is_near.0 == is_near.1;
    let are_atoms = before.is_some_and(is_atom) && next.is_some_and(is_atom);
    match text {
        "->" | "-->" | "!" | "|" | "~" => None,
        "%" if before.is_some_and(|before| is_number(&before.text)) => Some(Found::Percent),
        "-" | "--" if !is_near.0 && is_near.1 => match next {
            Some(next) if is_number(&next.text) => Some(Found::Negative),
            Some(next) => Some(Found::Operator(format!("{text}{}", next.text))),
            None => None,
        },
        "-" if is_even && are_atoms => operator(),
        "+" | "++" | "#" | "-" if is_near.0 && !is_near.1 => {
            let word = &before?.text;
            let is_mark = text != "-" || (word.len() < 3 && word.chars().all(char::is_uppercase));
            is_mark.then(|| Found::Operator(format!("{word}{text}")))
        }
        "-" | "--" | "#" => None,
        "/" => operator().filter(|_| are_atoms),
        "+" | "*" | "**" | "++" => operator().filter(|_| is_even),
        _ => operator(),
    }
}

fn is_number(text: &str) -> bool {
    text.chars().any(char::is_numeric)
}

/// Returns `true` for what an operator connects: a number, a letter, or what is in parentheses.
fn is_atom(run: &Run) -> bool {
    run.kind != Kind::Word || is_number(&run.text) || run.text.chars().count() == 1
}

fn runs(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut begins = true;
    for chunk in text.split_whitespace() {
        let first = runs.len();
        for char in chunk.chars() {
            let (char, kind) = kind(char);
            let char = char.as_str();
            match runs.get_mut(first..).and_then(<[Run]>::last_mut) {
                Some(run)
                    if run.kind == kind
                        && matches!(kind, Kind::Word | Kind::Sign)
                        && !is_currency(&run.text)
                        && !is_currency(char)
                        && !(char == "-" && run.text != "-") =>
                {
                    run.text.push_str(char);
                }
                _ => runs.push(Run {
                    kind,
                    text: char.to_owned(),
                    is_apart: runs.len() == first,
                    begins: false,
                }),
            }
        }
        for run in &mut runs[first..] {
            if run.kind == Kind::Word && !is_currency(&run.text) {
                trim(run);
            }
        }
        if let Some(run) = runs[first..].iter_mut().find(|run| run.kind == Kind::Word) {
            run.begins = begins;
            begins = false;
        }
        begins |= chunk.ends_with(['.', '?', '!', ':']);
    }
    runs.retain(|run| !run.text.is_empty());
    runs
}

/// Removes what is around a word. A number that begins with a point gets its zero.
fn trim(run: &mut Run) {
    let text = run
        .text
        .trim_end_matches(|char: char| !char.is_alphanumeric());
    let trimmed = text.trim_start_matches(|char: char| !char.is_alphanumeric());
    let start = &text[..text.len() - trimmed.len()];
    let is_degree = start.ends_with('°');
    let is_fraction =
        start.ends_with('.') && trimmed.starts_with(|char: char| char.is_ascii_digit());
    run.text = match (is_degree, is_fraction) {
        (true, _) => format!("°{trimmed}"),
        (_, true) => format!("0.{trimmed}"),
        _ => trimmed.to_owned(),
    };
}

fn is_currency(text: &str) -> bool {
    matches!(text, "$" | "€" | "£" | "¥")
}

/// Returns a character in its usual form, and what it is.
fn kind(char: char) -> (String, Kind) {
    let (usual, kind) = match char {
        '\u{2212}' | '\u{2013}' => ("-", Kind::Sign),
        '\u{d7}' | '\u{b7}' => ("*", Kind::Sign),
        '\u{f7}' => ("/", Kind::Sign),
        '\u{2264}' => ("<=", Kind::Sign),
        '\u{2265}' => (">=", Kind::Sign),
        '\u{2260}' => ("!=", Kind::Sign),
        '-'
        | '+'
        | '*'
        | '/'
        | '^'
        | '='
        | '<'
        | '>'
        | '%'
        | '#'
        | '|'
        | '~'
        | '!'
        | '\u{b1}'
        | '\u{2200}'..='\u{22ff}' => {
            return (char.to_string(), Kind::Sign);
        }
        '(' | '[' | '{' => ("(", Kind::Open),
        ')' | ']' | '}' => (")", Kind::Close),
        ',' | ';' => (",", Kind::Other),
        _ => return (char.to_string(), Kind::Word),
    };
    (usual.to_owned(), kind)
}
