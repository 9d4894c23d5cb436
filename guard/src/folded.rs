//! A text as the known patterns see it: other spaces, hyphens and digits look like those of ASCII.
//!
//! Each character is folded by itself, so the folded parts of a text are the parts of the folded text. A position in the one
//! has a position in the other.

use std::borrow::Cow;

/// The first digits of the scripts whose decimal digits are ten characters in a row (the decimal numbers of Unicode).
const ZEROS: [u32; 46] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6,
    0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50,
    0x1BB0, 0x1C40, 0x1C50, 0x2080, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0,
    0x104A0, 0x11066, 0x110F0, 0x11136, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1FBF0,
];
/// What invisible characters are folded to.
pub(crate) const INVISIBLE: char = '\x1F';
/// The distance of a full-width character from the one of ASCII.
const FULL_WIDTH: u32 = 0xFEE0;

/// A folded text.
pub(crate) struct Folded<'t> {
    text: Cow<'t, str>,
    /// Where the distance of the positions changes: behind each character that became shorter, the position there in the
    /// original and in the folded text.
    shifts: Vec<(usize, usize)>,
}

impl<'t> Folded<'t> {
    pub(crate) fn of(original: &'t str) -> Self {
        let mut shifts = Vec::new();
        if original.is_ascii() || !original.chars().any(|letter| fold(letter).is_some()) {
            let text = Cow::Borrowed(original);
            return Self { text, shifts };
        }
        let mut text = String::with_capacity(original.len());
        for (place, letter) in original.char_indices() {
            match fold(letter) {
                None => text.push(letter),
                Some(plain) => {
                    text.push(plain);
                    shifts.push((place + letter.len_utf8(), text.len()));
                }
            }
        }
        let text = Cow::Owned(text);
        Self { text, shifts }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the position in the folded text of the boundary of a character.
    pub(crate) fn folded(&self, original: usize) -> usize {
        let passed = self.shifts.partition_point(|(at, _)| *at <= original);
        let last = passed.checked_sub(1).and_then(|last| self.shifts.get(last));
        last.map_or(original, |(at, folded)| folded + (original - at))
    }

    /// Returns the position in the original of the boundary of a character.
    pub(crate) fn original(&self, folded: usize) -> usize {
        let passed = self.shifts.partition_point(|(_, at)| *at <= folded);
        let last = passed.checked_sub(1).and_then(|last| self.shifts.get(last));
        last.map_or(folded, |(original, at)| original + (folded - at))
    }
}

/// Returns the character of ASCII that a character looks like, or is the same number as; `None` if it stays as it is.
fn fold(letter: char) -> Option<char> {
    let code = u32::from(letter);
    let digit = |value: u32| char::from_digit(value, 10);
    match letter {
        '\0'..='\x7F' => None,
        '\u{A0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200A}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202F}'
        | '\u{205F}'
        | '\u{3000}'
        | '\u{3164}'
        | '\u{FFA0}' => Some(' '),
        // Without a width, marks of direction, and selectors of variants.
        '\u{34F}'
        | '\u{61C}'
        | '\u{180B}'..='\u{180E}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2069}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}' => Some(INVISIBLE),
        '\u{AD}' | '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' => {
            Some('-')
        }
        '\u{3002}' | '\u{FF61}' => Some('.'),
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(code - FULL_WIDTH),
        '\u{B2}' | '\u{B3}' => digit(code - 0xB0),
        '\u{B9}' => Some('1'),
        '\u{2070}' | '\u{2074}'..='\u{2079}' => digit(code - 0x2070),
        '\u{2460}'..='\u{2468}' => digit(code - 0x245F),
        '\u{24EA}' => Some('0'),
        _ => {
            let place = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
            digit(code - ZEROS.get(place)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_correspond() {
        let original = "a\u{A0}é４\u{2010}z𝟜";
        let folded = Folded::of(original);
        assert_eq!(folded.text(), "a é4-z4");
        let places = original.char_indices().map(|(place, _)| place);
        let folded_places: Vec<usize> = places.clone().map(|place| folded.folded(place)).collect();
        let expected: Vec<usize> = folded
            .text()
            .char_indices()
            .map(|(place, _)| place)
            .collect();
        assert_eq!(folded_places, expected);
        assert_eq!(folded.folded(original.len()), folded.text().len());
        let back: Vec<usize> = expected
            .iter()
            .map(|place| folded.original(*place))
            .collect();
        assert_eq!(back, places.collect::<Vec<_>>());
        assert_eq!(folded.original(folded.text().len()), original.len());
    }

    #[test]
    fn only_ascii_results_and_letters_stay() {
        assert!(ZEROS.is_sorted());
        for letter in '\0'..=char::MAX {
            if let Some(plain) = fold(letter) {
                assert!(
                    plain.is_ascii() && !letter.is_ascii(),
                    "{letter:?} {plain:?}"
                );
            }
        }
        for (letter, plain) in [('٣', '3'), ('９', '9'), ('①', '1'), ('²', '2'), ('＠', '@')]
        {
            assert_eq!(fold(letter), Some(plain));
        }
        for letter in ['é', '中', '一', '𝔸', '\n', '½'] {
            assert_eq!(fold(letter), None, "{letter}");
        }
    }
}
