//! A cheap guard before similar questions are compared by meaning: what differs in a number, a negation, a name, a quotation, an exclusive
//! word (`approve` and `deny`) or its language is another question, however close the vectors are.
//!
//! It may rule out a question that asks the same: that costs a hit. It cannot find all that differ; the verifier has to.

use std::collections::{BTreeMap, BTreeSet};

mod order;
mod tokens;

use crate::words::{EXCLUSIVE, LANGUAGES, NEGATIONS, NUMBERS, UNITS};

use order::{Placed, is_swapped, same_order};
use tokens::{Token, tokens};

/// In what two questions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// They have other numbers, in another order, with other signs or units, or other operators.
    Number,
    /// One of them is negated.
    Negation,
    /// They name others, or something else in capitals, or the same in other places (`a to b`, `b to a`).
    Name,
    /// They quote something else, or other code.
    Quotation,
    /// They have words that exclude each other.
    Opposite,
    /// They are in other languages or scripts.
    Language,
}

impl Difference {
    /// All differences.
    pub const ALL: [Self; 6] = [
        Self::Number,
        Self::Negation,
        Self::Name,
        Self::Quotation,
        Self::Opposite,
        Self::Language,
    ];

    /// Returns the name in metrics and reports.
    pub fn label(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Negation => "negation",
            Self::Name => "name",
            Self::Quotation => "quotation",
            Self::Opposite => "opposite",
            Self::Language => "language",
        }
    }
}

/// What the guard reads of a question.
struct Features {
    numbers: Vec<Number>,
    signs: Vec<String>,
    negations: usize,
    names: Vec<Placed>,
    units: Vec<Placed>,
    quotations: Vec<String>,
    sequence: Vec<String>,
    words: BTreeSet<String>,
    language: Option<&'static str>,
    scripts: BTreeSet<&'static str>,
}

/// A number with its unit, as the places of the unit in `UNITS`.
struct Number {
    digits: String,
    unit: Option<(usize, usize)>,
}

/// Returns the first difference of two questions; `None` if the guard finds none.
pub fn difference(left: &str, right: &str) -> Option<Difference> {
    let (left, right) = (Features::of(left), Features::of(right));
    let languages = left.language.zip(right.language);
    let other_language = languages.is_some_and(|(left, right)| left != right);
    let differ = [
        (
            other_language || left.scripts != right.scripts,
            Difference::Language,
        ),
        (left.counts_otherwise(&right), Difference::Number),
        (
            left.negations % 2 != right.negations % 2,
            Difference::Negation,
        ),
        (left.quotations != right.quotations, Difference::Quotation),
        (left.names_others(&right), Difference::Name),
        (is_opposite(&left.words, &right.words), Difference::Opposite),
    ];
    let found = differ.into_iter().find(|(differs, _)| *differs);
    found.map(|(_, difference)| difference)
}

impl Features {
    fn of(text: &str) -> Self {
        let (plain, quotations) = without_quotations(text);
        let mut features = Self {
            numbers: Vec::new(),
            signs: Vec::new(),
            negations: 0,
            names: Vec::new(),
            units: Vec::new(),
            quotations,
            sequence: Vec::new(),
            words: BTreeSet::new(),
            language: None,
            scripts: text.chars().filter_map(script).collect(),
        };
        let tokens = tokens(&plain);
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Sign(sign) => {
                    features.sequence.push(sign.clone());
                    features.signs.push(sign.clone());
                }
                Token::Word { text, begins } => {
                    let next = tokens.get(at + 1).and_then(Token::word);
                    features.add(text, *begins, next);
                }
            }
        }
        features.language = language(&features.words);
        features
    }

    /// Returns `true` if the numbers, their units or the signs differ.
    fn counts_otherwise(&self, other: &Self) -> bool {
        let has = |features: &Self, (set, place): (usize, usize)| {
            UNITS[set][place]
                .split('|')
                .any(|word| features.words.contains(word))
        };
        let differ = |left: &Number, right: &Number| {
            left.digits != right.digits
                || match (left.unit, right.unit) {
                    (Some(left), Some(right)) => left != right,
                    // The other one may name it elsewhere.
                    (Some(unit), None) => !has(other, unit),
                    (None, Some(unit)) => !has(self, unit),
                    (None, None) => false,
                }
        };
        let mut pairs = self.numbers.iter().zip(&other.numbers);
        self.signs != other.signs
            || self.numbers.len() != other.numbers.len()
            || pairs.any(|(left, right)| differ(left, right))
    }

    /// Returns `true` if the names differ, or what is named has other places.
    fn names_others(&self, other: &Self) -> bool {
        let names = |features: &Self| -> BTreeSet<String> {
            features
                .names
                .iter()
                .map(|name| name.text.clone())
                .collect()
        };
        names(self) != names(other)
            || !same_order(&self.names, &other.names)
            || !same_order(&self.units, &other.units)
            || is_swapped(&self.sequence, &other.sequence)
    }

    fn add(&mut self, word: &str, begins: bool, next: Option<&str>) {
        let plain = folded(word);
        if plain.is_empty() {
            return;
        }
        let before = self.sequence.last().cloned();
        let at = self.sequence.len();
        self.sequence.push(plain.clone());
        let placed = |text: &str| Placed {
            text: text.to_owned(),
            at,
            role: before.clone(),
        };
        if word.chars().any(char::is_numeric) {
            let digits = word.replace(['\u{a0}', '_', '\''], "").to_lowercase();
            let (digits, own) = with_unit(&digits);
            self.words.extend(own.map(ToOwned::to_owned));
            self.number(digits, own.or(next), before.as_deref());
            return;
        }
        let unit = unit_of(&plain);
        let is_counted = before.as_deref().is_some_and(is_number);
        if let Some((_, digits)) = NUMBERS.iter().find(|(name, _)| *name == plain)
            && !(is_counted && unit.is_some())
        {
            self.number(digits, next, before.as_deref());
        }
        let negated = plain.len() > 3
            && word
                .to_lowercase()
                .replace('\u{2019}', "'")
                .ends_with("n't");
        if negated || NEGATIONS.contains(&plain.as_str()) {
            self.negations += 1;
        }
        let is_letter = plain.len() == 1 && plain.is_ascii();
        let counts_next = next.is_some_and(is_number);
        if let Some((set, place)) = unit
            && !is_counted
            && !counts_next
            && !is_letter
        {
            self.units.push(placed(UNITS[set][place]));
        }
        let mut letters = word.chars();
        let is_capital = letters.next().is_some_and(char::is_uppercase);
        let is_acronym =
            is_capital && letters.clone().count() > 0 && letters.all(char::is_uppercase);
        if is_capital && (!begins || is_acronym) && plain != "i" && unit.is_none() {
            let name = plain
                .strip_suffix('s')
                .filter(|_| word.contains(['\'', '\u{2019}']));
            self.names.push(placed(name.unwrap_or(&plain)));
        }
        self.words.insert(plain);
    }

    /// Adds a number. Its unit follows it, or it is a currency before it.
    fn number(&mut self, digits: &str, next: Option<&str>, before: Option<&str>) {
        let follows = next.and_then(|next| unit_of(&folded(next)));
        let unit = follows.or_else(|| before.and_then(unit_of));
        self.numbers.push(Number {
            digits: digits.to_owned(),
            unit,
        });
    }
}

/// Returns `true` for a number in digits or as a word.
fn is_number(word: &str) -> bool {
    word.chars().any(char::is_numeric) || NUMBERS.iter().any(|(name, _)| *name == word)
}

/// Returns the place of a unit in `UNITS`.
fn unit_of(word: &str) -> Option<(usize, usize)> {
    let mut sets = UNITS.iter().enumerate();
    sets.find_map(|(at, set)| {
        let place = set
            .iter()
            .position(|same| same.split('|').any(|one| one == word));
        Some((at, place?))
    })
}

/// Returns the digits and the unit of a number like `5km`.
fn with_unit(number: &str) -> (&str, Option<&str>) {
    let end = number.rfind(char::is_numeric).unwrap_or(0);
    let end = number.ceil_char_boundary(end + 1);
    let (digits, unit) = number.split_at(end);
    match unit_of(unit) {
        Some(_) => (digits, Some(unit)),
        None => (number, None),
    }
}

/// Returns a text without its quotations and code, and these.
fn without_quotations(text: &str) -> (String, Vec<String>) {
    const PAIRS: &[(char, char)] = &[
        ('"', '"'),
        ('`', '`'),
        ('\u{201c}', '\u{201d}'),
        ('\u{201e}', '\u{201c}'),
        ('\u{ab}', '\u{bb}'),
    ];
    let (mut plain, mut quotations) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some((at, open)) = rest
        .char_indices()
        .find(|(_, char)| PAIRS.iter().any(|(open, _)| open == char))
    {
        let behind = &rest[at + open.len_utf8()..];
        let closing = PAIRS
            .iter()
            .filter(|(one, _)| *one == open)
            .map(|(_, close)| *close);
        let end = closing
            .filter_map(|close| behind.find(close).map(|end| (end, close)))
            .min();
        let Some((end, close)) = end else {
            break;
        };
        plain.push_str(&rest[..at]);
        plain.push(' ');
        let quotation = behind[..end].trim().to_owned();
        if !quotations.contains(&quotation) {
            quotations.push(quotation);
        }
        rest = &behind[end + close.len_utf8()..];
    }
    plain.push_str(rest);
    (plain, quotations)
}

/// Returns a word in small letters without accents and apostrophes.
fn folded(word: &str) -> String {
    let small = word.to_lowercase();
    let folded = small.chars().filter_map(|char| match char {
        '\'' | '\u{2019}' => None,
        'à' | 'á' | 'â' | 'ä' | 'å' | 'ã' => Some('a'),
        'è' | 'é' | 'ê' | 'ë' => Some('e'),
        'ì' | 'í' | 'î' | 'ï' => Some('i'),
        'ò' | 'ó' | 'ô' | 'ö' | 'õ' | 'ø' => Some('o'),
        'ù' | 'ú' | 'û' | 'ü' => Some('u'),
        'ç' => Some('c'),
        'ñ' => Some('n'),
        other => Some(other),
    });
    folded.collect()
}

/// Returns the script of a letter, as far as scripts are told apart.
fn script(char: char) -> Option<&'static str> {
    Some(match char {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => "latin",
        '\u{370}'..='\u{3ff}' => "greek",
        '\u{400}'..='\u{52f}' => "cyrillic",
        '\u{590}'..='\u{5ff}' => "hebrew",
        '\u{600}'..='\u{6ff}' => "arabic",
        '\u{900}'..='\u{97f}' => "devanagari",
        '\u{e00}'..='\u{e7f}' => "thai",
        '\u{3040}'..='\u{30ff}' => "kana",
        '\u{4e00}'..='\u{9fff}' => "han",
        '\u{ac00}'..='\u{d7af}' => "hangul",
        _ => return None,
    })
}

/// Returns the language whose frequent words occur most; `None` if two have as many.
fn language(words: &BTreeSet<String>) -> Option<&'static str> {
    let counts: BTreeMap<&'static str, usize> = LANGUAGES
        .iter()
        .map(|(name, frequent)| {
            let count = frequent
                .iter()
                .filter(|word| words.contains(**word))
                .count();
            (*name, count)
        })
        .collect();
    let most = counts.values().copied().max().filter(|most| *most > 0)?;
    let mut best = counts.iter().filter(|(_, count)| **count == most);
    let (name, _) = best.next()?;
    best.next().is_none().then_some(*name)
}

/// Returns `true` if two questions have different words of one set, and each has one.
fn is_opposite(left: &BTreeSet<String>, right: &BTreeSet<String>) -> bool {
    EXCLUSIVE.iter().chain(UNITS).any(|set| {
        let of = |words: &BTreeSet<String>| -> BTreeSet<usize> {
            let places = set.iter().enumerate();
            let found = places.filter(|(_, same)| same.split('|').any(|word| words.contains(word)));
            found.map(|(place, _)| place).collect()
        };
        let (left, right) = (of(left), of(right));
        !left.is_empty() && !right.is_empty() && left != right
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Questions that do not ask the same, and the difference.
    const DIFFERENT: &[(&str, &str, Difference)] = &[
        (
            "Convert 5 km to miles",
            "Convert 6 km to miles",
            Difference::Number,
        ),
        (
            "What are three uses of salt?",
            "What are two uses of salt?",
            Difference::Number,
        ),
        (
            "What changed in v1.2?",
            "What changed in v1.3?",
            Difference::Number,
        ),
        (
            "Is it safe to eat?",
            "Is it not safe to eat?",
            Difference::Negation,
        ),
        (
            "Why does it work?",
            "Why doesn't it work?",
            Difference::Negation,
        ),
        (
            "Was ist erlaubt?",
            "Was ist nicht erlaubt?",
            Difference::Negation,
        ),
        (
            "What is the capital of France?",
            "What is the capital of Spain?",
            Difference::Name,
        ),
        ("Who founded IBM?", "Who founded SAP?", Difference::Name),
        (
            "Explain \"let\"",
            "Explain \"const\"",
            Difference::Quotation,
        ),
        (
            "What does `ls -a` do?",
            "What does `ls -l` do?",
            Difference::Quotation,
        ),
        (
            "Should I approve the refund?",
            "Should I deny the refund?",
            Difference::Opposite,
        ),
        (
            "how many hours are left",
            "how many days are left",
            Difference::Opposite,
        ),
        (
            "What is the weather like?",
            "Wie ist das Wetter?",
            Difference::Language,
        ),
        ("is -5 even", "is 5 even", Difference::Number),
        ("is 5 + -3 even", "is 5 + 3 even", Difference::Number),
        ("take 10% of it", "take 10 of it", Difference::Number),
        ("what is .5 of it", "what is 5 of it", Difference::Number),
        ("what is a+b", "what is a-b", Difference::Number),
        ("what is 6 * 3", "what is 6 / 3", Difference::Number),
        ("is x > y", "is x < y", Difference::Number),
        ("is x > y", "is y > x", Difference::Name),
        ("is x >= 5", "is x > 5", Difference::Number),
        ("solve -x = 5", "solve x = 5", Difference::Number),
        ("is it $10?", "is it €10?", Difference::Number),
        ("what is c++", "what is c#", Difference::Number),
        ("subtract 3 from 5", "subtract 5 from 3", Difference::Number),
        ("10 usd to eur", "10 eur to usd", Difference::Number),
        ("usd to eur", "eur to usd", Difference::Name),
        (
            "How many miles are 5 km?",
            "How many km are 5 miles?",
            Difference::Number,
        ),
        (
            "write from anna to bert",
            "write from bert to anna",
            Difference::Name,
        ),
        ("anna to bert", "bert to anna", Difference::Name),
        (
            "does anna love bert",
            "does bert love anna",
            Difference::Name,
        ),
        (
            "is anna much older than bert",
            "is bert much older than anna",
            Difference::Name,
        ),
        (
            "Fly from Paris, France to London",
            "Fly from London to Paris, France",
            Difference::Name,
        ),
        (
            "replace `a` with `b`",
            "replace `b` with `a`",
            Difference::Quotation,
        ),
        (
            "sort them ascending",
            "sort them descending",
            Difference::Opposite,
        ),
        (
            "is it open at noon",
            "is it open at midnight",
            Difference::Opposite,
        ),
        ("What is love?", "Что такое любовь?", Difference::Language),
    ];

    #[test]
    fn what_differs_is_found() {
        for &(left, right, expected) in DIFFERENT {
            assert_eq!(difference(left, right), Some(expected), "{left} / {right}");
            assert_eq!(difference(right, left), Some(expected), "{right} / {left}");
        }
    }

    proptest! {
        #[test]
        fn a_text_does_not_differ_from_itself(text in r"([a-c0-9 .,%$°²()+<>='-]|anna to bert |5 km ){0,12}", any in ".{0,30}") {
            for text in [&text, &any] {
                prop_assert_eq!(difference(text, text), None);
            }
        }
    }

    #[test]
    fn what_asks_the_same_passes() {
        let table = [
            (
                "What is the capital of France?",
                "Which city is the capital of France?",
            ),
            ("How do I reset my password?", "how can I reset my password"),
            ("Convert 5 km to miles", "How many miles are 5 km?"),
            ("List three uses of salt", "List 3 uses of salt"),
            ("Why doesn't it work?", "why does it not work?"),
            ("Take 10 % of 5", "take 10 percent of 5"),
            ("How far is 5km?", "how far is 5 kilometres"),
            ("is minus 5 even", "is -5 even"),
            (
                "In Java, how do I parse JSON?",
                "How do I parse JSON in Java?",
            ),
            ("Fly from Paris to London", "Fly to London from Paris"),
            ("Compare Paris and London", "Compare London and Paris"),
            ("Is COVID-19 a virus?", "is COVID-19 a virus"),
            (
                "Is a **good** tea - hot - healthy?",
                "Is a good tea, hot, healthy?",
            ),
            (
                "anna to bert and bert to anna",
                "bert to anna and anna to bert",
            ),
            ("10 usd in eur", "how many eur are 10 usd"),
        ];
        for (left, right) in table {
            assert_eq!(difference(left, right), None, "{left} / {right}");
        }
    }
}
