//! The words of texts in one form, so that different spellings of one letter are equal.

use std::borrow::Cow;

use unicode_normalization::{
    IsNormalized, UnicodeNormalization as _, char::is_combining_mark, is_nfkc_quick,
};

/// Calls `take` with each word of a text, without case and in the form NFKC: composed and decomposed letters (é), ligatures (ﬁ) and full-width
/// letters are as their usual forms.
///
/// Source: Unicode Standard Annex 15, "Unicode Normalization Forms".
pub(crate) fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let text = composed(text);
    let is_part = |char: char| char.is_alphanumeric() || is_combining_mark(char);
    for word in text.split(|char| !is_part(char)) {
        if word.contains(char::is_alphanumeric) {
            take(&word.to_lowercase());
        }
    }
}

fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfkc().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn spellings_of_one_letter_are_equal() {
        let composed = ["café", "naïve", "Ångström", "한국", "ガス"];
        for word in composed {
            let decomposed: String = word.nfd().collect();
            assert_ne!(decomposed, word);
            assert_eq!(words(&decomposed), words(word), "{word}");
            assert_eq!(words(word).len(), 1, "{word}");
        }
        assert_eq!(words("ﬁle ＡＢ１ x²"), ["file", "ab1", "x2"]);
    }

    #[test]
    fn a_mark_without_a_composed_letter_is_a_part_of_its_word() {
        assert_eq!(words("q\u{303}a b"), ["q\u{303}a", "b"]);
        assert_eq!(words("a \u{301}\u{301} b"), ["a", "b"]);
        assert_eq!(words("हिन्दी"), ["हिन्दी"]);
    }

    #[test]
    fn other_characters_stand_between_words() {
        assert_eq!(
            words("It's 3.5-fold,\tNO_W!"),
            ["it", "s", "3", "5", "fold", "no", "w"]
        );
        assert!(words(" -- ").is_empty());
    }
}
