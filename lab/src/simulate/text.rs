//! The text of a simulated answer: a readable echo of the prompt, divided into tokens.

/// The largest number of words of the prompt that are echoed, so that a long prompt does not make a long answer.
const ECHO_WORDS_MAX: usize = 40;

/// Repeated after the echo until the answer has the length of the profile.
const SENTENCES: [&str; 5] = [
    "This text comes from Kebne's simulated model: it has no weights, only timing. ",
    "It was cold, it loaded, and now it warms up while calls succeed. ",
    "Some of its calls are slow and some fail, and you should not notice. ",
    "Each word here is one token, sent when its time has come. ",
    "Point a backend of kind `openai` at a real server to hear something new. ",
];

/// An answer as tokens, and whether the caller's bound cut it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The tokens; joined they are the text.
    pub tokens: Vec<String>,
    /// `true` if the caller's bound on tokens cut the text.
    pub cut: bool,
}

impl Text {
    /// Answers a prompt with about `wanted` tokens and at most `max`.
    pub fn answer(prompt: &str, wanted: u32, max: Option<u32>) -> Self {
        let words: Vec<&str> = prompt.split_whitespace().collect();
        let mut text = String::new();
        if !words.is_empty() {
            let more = if words.len() > ECHO_WORDS_MAX {
                " …"
            } else {
                ""
            };
            let echo = words[..words.len().min(ECHO_WORDS_MAX)].join(" ");
            text = format!("You said: “{echo}{more}”. ");
        }
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut tokens: Vec<String> = pieces(&text).collect();
        let filler = SENTENCES
            .iter()
            .cycle()
            .flat_map(|sentence| pieces(sentence));
        let missing = wanted
            .saturating_sub(tokens.len())
            .max(usize::from(tokens.is_empty()));
        tokens.extend(filler.take(missing));
        let max = max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let cut = tokens.len() > max;
        tokens.truncate(max);
        if !cut && let Some(last) = tokens.last_mut() {
            *last = last.trim_end().to_owned();
        }
        Self { tokens, cut }
    }

    /// Returns the whole text.
    pub fn whole(&self) -> String {
        self.tokens.concat()
    }
}

/// Counts the tokens of a text as the simulated model counts them: words.
pub fn count(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX)
}

/// Divides a text after each space, so that the joined pieces are the text.
fn pieces(text: &str) -> impl Iterator<Item = String> {
    text.split_inclusive(' ').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_echoed_and_the_length_is_as_wanted() {
        let text = Text::answer("Hello,  Kebne", 30, None);
        assert_eq!(text.tokens.len(), 30);
        assert!(
            text.whole()
                .starts_with("You said: “Hello, Kebne”. This text"),
            "{text:?}"
        );
        assert!(!text.cut);
    }

    #[test]
    fn the_callers_bound_cuts_and_says_so() {
        let text = Text::answer("Hello", 30, Some(2));
        assert_eq!((text.whole().as_str(), text.cut), ("You said: ", true));
    }

    #[test]
    fn a_long_prompt_does_not_make_a_long_answer() {
        let text = Text::answer(&"word ".repeat(10_000), 10, None);
        assert!(
            text.tokens.len() < ECHO_WORDS_MAX + 5,
            "{}",
            text.tokens.len()
        );
    }
}
