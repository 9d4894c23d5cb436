//! Names of environment variables in settings.

/// The number of hexadecimal digits from which a text is taken for a key and not for a name.
const KEY_DIGITS: usize = 32;

/// Returns `true` if a text can be the name of an environment variable and does not look like a key. A key in the place of
/// a name would leave unencrypted what it is to encrypt, because no variable has that name.
pub fn is_variable_name(text: &str) -> bool {
    let starts_as_name =
        text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_key = text.len() >= KEY_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    starts_as_name && text.bytes().all(is_name) && !is_key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_a_name() {
        for name in ["KEBNE_CONTEXT_KEY", "_x1", "a", "abcdef", "FACADE_0"] {
            assert!(is_variable_name(name), "{name}");
        }
        let key = "fe864200112233445566778899aabbcc";
        for text in [
            "",
            "1A",
            "A-B",
            "A B",
            "A=B",
            "sk-1",
            "ключ",
            key,
            &key.repeat(2),
        ] {
            assert!(!is_variable_name(text), "{text}");
        }
    }
}
