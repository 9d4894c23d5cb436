//! Patterns of names and values: `*` stands for any characters, also for none.

/// Returns `true` if a text fits a pattern. The work is at most the product of both lengths.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // The last `*`, and the place up to which it stands for the text.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, read));
            at += 1;
        } else if pattern.get(at) == Some(&text[read]) {
            at += 1;
            read += 1;
        } else if let Some((place, upto)) = &mut star {
            *upto += 1;
            (at, read) = (*place + 1, *upto);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("gold", "gold"),
            ("team-*", "team-"),
            ("team-*", "team-a"),
            ("*-eu", "shop-eu"),
            ("a*b*c", "a--b-b--c"),
            ("ö*", "öl"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("gold", "Gold"),
            ("team-*", "team"),
            ("a*b", "a-b-"),
            ("*-eu", "shop-eu2"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_fits_itself_and_any_cut_of_it(text in "[a-c]{0,12}", from in 0_usize..12, to in 0_usize..12) {
            prop_assert!(fits(&text, &text));
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            let (from, to) = (from.min(to), from.max(to));
            let cut = [&text[..from], "*", &text[to..]].concat();
            prop_assert!(fits(&cut, &text), "{} {}", cut, text);
        }
    }
}
