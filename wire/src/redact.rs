//! Removes secrets and long quotations from text that goes to a log, a file or a screen.
//!
//! Model servers repeat keys, organisations and prompts in their errors, and operators put secrets into URLs. The
//! following is recognised: the userinfo and the query of a URL, `Bearer` and `key=` values, the prefixes of the
//! providers' keys, long words of letters and digits, and quotations longer than [`QUOTED_MAX`].

/// The replacement of removed text.
const MASK: &str = "***";

/// A longer quotation is not a name but text that a caller wrote.
pub const QUOTED_MAX: usize = 40;

/// A longer word of letters and digits is considered a secret.
const WORD_MAX: usize = 24;

/// The prefixes of the keys and the organisations of providers.
const PREFIXES: [&str; 16] = [
    "sk-", "sk_", "pk-", "rk-", "hf_", "gsk_", "xai-", "AIza", "org-", "proj_", "key-", "ghp_",
    "eyJ", "AKIA", "nvapi-", "r8_",
];

/// Names of parameters whose value is a secret.
const NAMES: [&str; 9] = [
    "key",
    "api_key",
    "api-key",
    "apikey",
    "token",
    "access_token",
    "secret",
    "sig",
    "signature",
];

/// Query parameters that are not secret.
const OPEN_PARAMETERS: [&str; 2] = ["api-version", "api_version"];

/// Returns a URL without its userinfo and without the values of its query.
pub fn url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => authority.to_owned(),
    };
    let mut shown = format!("{scheme}{host}{path}");
    if let Some(query) = query {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if !OPEN_PARAMETERS.contains(&name) => format!("{name}={MASK}"),
            Some(_) => pair.to_owned(),
            None if pair.is_empty() => String::new(),
            None => MASK.to_owned(),
        });
        shown.push('?');
        shown += &pairs.collect::<Vec<_>>().join("&");
    }
    if !fragment.is_empty() {
        shown = format!("{shown}#{MASK}");
    }
    shown
}

/// How ids begin that callers know and use.
const IDS: [&str; 9] = [
    "call_",
    "toolu_",
    "msg_",
    "resp_",
    "fc_",
    "rs_",
    "file_",
    "batch_",
    "chatcmpl_",
];

/// Returns a text without what looks like a secret or like a long quotation.
pub fn text(text: &str) -> String {
    secrets(&without_quotations(text))
}

/// Returns a text without what looks like a secret, for a caller whose own words may be quoted.
pub fn secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut is_secret_next = false;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let space = &piece[word.len()..];
        if is_secret_next && !word.is_empty() {
            shown += MASK;
        } else if word.contains("://") {
            shown += &url(word);
        } else {
            shown += &masked_words(word);
        }
        let name = word
            .trim_matches(|c: char| !c.is_alphanumeric())
            .to_ascii_lowercase();
        is_secret_next =
            matches!(name.as_str(), "bearer" | "basic") || (is_secret_next && word.is_empty());
        shown += space;
    }
    shown
}

/// Replaces every quotation longer than [`QUOTED_MAX`] by its length.
fn without_quotations(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let quote = rest[start..].chars().next().unwrap_or('"');
        let (before, after) = (&rest[..start], &rest[start + 1..]);
        shown += before;
        // The end of a text that was cut off ends its quotation. An apostrophe does not begin a quotation.
        let in_word = quote == '\'' && before.ends_with(char::is_alphanumeric);
        let end = after.find(quote);
        let length = end.unwrap_or(after.len());
        if in_word {
            shown.push(quote);
            rest = after;
            continue;
        }
        if length > QUOTED_MAX && (end.is_some() || quote != '\'') {
            let count = after[..length].chars().count();
            shown.push(quote);
            shown += "… ";
            shown += &count.to_string();
            shown += " characters";
            shown.push(quote);
        } else {
            shown.push(quote);
            shown += &after[..length];
            if end.is_some() {
                shown.push(quote);
            }
        }
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    shown + rest
}

/// Masks the parts of a word that are secrets.
fn masked_words(word: &str) -> String {
    let mut shown = String::with_capacity(word.len());
    let mut is_value_of_secret = false;
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '*');
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let part = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        if part.is_empty() {
            shown.push(first);
            is_value_of_secret &= matches!(first, '=' | ':' | '"' | '\'');
            rest = &rest[first.len_utf8()..];
            continue;
        }
        rest = &rest[part.len()..];
        if is_value_of_secret || is_secret(part) {
            shown += MASK;
        } else {
            shown += part;
        }
        let name = part.to_ascii_lowercase();
        is_value_of_secret = NAMES.contains(&name.as_str())
            && rest.trim_start_matches(['"', '\'']).starts_with(['=', ':']);
    }
    shown
}

fn is_secret(word: &str) -> bool {
    let has_prefix = |prefix: &&str| word.len() >= prefix.len() + 5 && word.starts_with(*prefix);
    if PREFIXES.iter().any(has_prefix) {
        return true;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_word = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_id = IDS.iter().any(|id| word.starts_with(id));
    word.len() >= WORD_MAX && is_word && digits >= 4 && letters >= 4 && !is_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (given, shown) in [
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
            (
                "https://user:pa@ss@host/v1?key=abc&x",
                "https://***@host/v1?key=***&***",
            ),
            (
                "https://host/v1?api-version=2024-10-21&sig=%2F",
                "https://host/v1?api-version=2024-10-21&sig=***",
            ),
            ("host/v1#secret", "host/v1#***"),
        ] {
            assert_eq!(url(given), shown);
        }
    }

    #[test]
    fn keys_organisations_and_long_quotations_are_removed_from_text() {
        let prompt = "please write a poem about my very secret diary entry of today";
        for (given, shown) in [
            (
                "Incorrect API key provided: sk-proj-abc123***xyz.",
                "Incorrect API key provided: ***.",
            ),
            (
                "organization org-AbCdEf123456 has no access",
                "organization *** has no access",
            ),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            (
                "GET https://a:b@h/v1?token=t failed",
                "GET https://***@h/v1?token=*** failed",
            ),
            (
                "{\"api_key\":\"abc\",\"x\":1}",
                "{\"api_key\":\"***\",\"x\":1}",
            ),
            ("token=abc next", "token=*** next"),
            ("id 0123456789abcdef0123456789abcdef", "id ***"),
            (
                "the model `meta-llama/Llama-3.3-70B-Instruct` doesn't exist",
                "the model `meta-llama/Llama-3.3-70B-Instruct` doesn't exist",
            ),
            (
                "This model's maximum context length is 8192 tokens",
                "This model's maximum context length is 8192 tokens",
            ),
        ] {
            assert_eq!(text(given), shown);
        }
        let quoted = format!("call_0123456789abcdef01234567 said '{prompt}'");
        assert_eq!(secrets(&quoted), quoted);
        assert_eq!(secrets("'sk-abcdefgh'"), "'***'");
        for quote in ['"', '`', '\''] {
            let shown = text(&format!("bad input {quote}{prompt}{quote} here"));
            assert!(
                !shown.contains("diary") && shown.ends_with(" here"),
                "{shown}"
            );
        }
        assert!(!text(&format!("input \"{prompt}")).contains("diary"));
    }
}
