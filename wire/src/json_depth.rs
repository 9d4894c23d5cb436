//! Finds the end of a JSON object that arrives in pieces, without keeping it.

/// Follows the brackets of one JSON value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonDepth {
    depth: u32,
    in_text: bool,
    after_backslash: bool,
    has_begun: bool,
}

impl JsonDepth {
    /// Reads the next piece.
    pub(crate) fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.after_backslash {
                self.after_backslash = false;
                continue;
            }
            match byte {
                b'\\' if self.in_text => self.after_backslash = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => {
                    self.has_begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Returns `true` if a bracket was opened and all brackets are closed.
    pub(crate) fn is_complete(self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_pieces_are_cut() {
        let text = r#" {"a": ["}", "\"]"], "b": {}}"#;
        for cut in 0..text.len() {
            let mut depth = JsonDepth::default();
            depth.push(&text[..cut]);
            assert!(!depth.is_complete(), "{}", &text[..cut]);
            depth.push(&text[cut..]);
            assert!(depth.is_complete());
        }
    }
}
