//! The known patterns: regular expressions for candidates, and the rules by which a candidate is a match.

use serde::{Deserialize, Serialize};

use crate::{
    candidate::Candidate,
    checksum::{country_code, iban_size, is_iban, is_luhn},
    folded::INVISIBLE,
};

/// A known pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// An e-mail address.
    Email,
    /// A telephone number in the international form of E.164, with `+` and a country code.
    Phone,
    /// An international bank account number whose checksum is right.
    Iban,
    /// The number of a payment card whose checksum is right.
    Card,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A social security number of the United States.
    Ssn,
    /// A national insurance number of the United Kingdom.
    Nino,
    /// A Swedish personal identity number whose checksum is right.
    Personnummer,
    /// A key of an API or a private key, by the prefix that its issuer uses.
    ApiKey,
}

/// The prefixes of keys with the letters that follow. Sources: the issuers' pages and GitHub's list of secret scanning
/// patterns.
const API_KEY: &str = concat!(
    r"(?-u:\b)(?:",
    r"sk-[A-Za-z0-9_-]{20,200}",
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,200}",
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?-u:\b)",
    r"|AIza[A-Za-z0-9_-]{35}",
    r"|gh[pousr]_[A-Za-z0-9]{36,200}",
    r"|github_pat_[A-Za-z0-9_]{22,200}",
    r"|glpat-[A-Za-z0-9_-]{20,200}",
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,200}",
    r"|hf_[A-Za-z0-9]{30,100}",
    r"|npm_[A-Za-z0-9]{36}",
    r"|gsk_[A-Za-z0-9]{32,100}",
    r"|pypi-[A-Za-z0-9_-]{32,200}",
    r"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    r")|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----",
);

impl Pattern {
    /// All patterns.
    pub const ALL: [Self; 10] = [
        Self::Email,
        Self::Phone,
        Self::Iban,
        Self::Card,
        Self::Ipv4,
        Self::Ipv6,
        Self::Ssn,
        Self::Nino,
        Self::Personnummer,
        Self::ApiKey,
    ];

    /// Returns the name in settings, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Ssn => "ssn",
            Self::Nino => "nino",
            Self::Personnummer => "personnummer",
            Self::ApiKey => "api_key",
        }
    }

    /// Returns the regular expression of candidates.
    pub(crate) fn regex(self) -> &'static str {
        match self {
            Self::Email => {
                r"[A-Za-z0-9._%+\x{C0}-\x{24F}\x{300}-\x{52F}-]{1,64}\x1F?@\x1F?(?:[A-Za-z0-9\x{C0}-\x{24F}\x{300}-\x{52F}](?:[A-Za-z0-9\x{C0}-\x{24F}\x{300}-\x{52F}-]{0,61}[A-Za-z0-9\x{C0}-\x{24F}\x{300}-\x{52F}])?\.){1,4}[A-Za-z]{2,24}(?-u:\b)"
            }
            Self::Phone => r"\+[1-9](?:(?:[ \t\x1F.()-]|&nbsp;){0,2}[0-9]){6,14}(?-u:\b)",
            Self::Iban => r"(?-u:\b)[A-Za-z]{2}[0-9]{2}(?:[ \t\x1F-]{0,2}[A-Za-z0-9]){11,30}",
            Self::Card => r"(?-u:\b)[0-9](?:(?:[ \t\x1F.-]|&nbsp;){0,2}[0-9]){11,18}(?-u:\b)",
            Self::Ipv4 => r"(?-u:\b)[0-9]{1,3}(?:\.[0-9]{1,5}){3,8}(?-u:\b)",
            Self::Ipv6 => {
                r"(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4})"
            }
            Self::Ssn => r"(?-u:\b)[0-9]{3}[ \t\x1F-][0-9]{2}[ \t\x1F-][0-9]{4}(?-u:\b)",
            Self::Nino => {
                r"(?-u:\b)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ \t\x1F]?[0-9]{2}[ \t\x1F]?[0-9]{2}[ \t\x1F]?[0-9]{2}[ \t\x1F]?[A-D](?-u:\b)"
            }
            Self::Personnummer => r"(?-u:\b)(?:19|20)?[0-9]{6}[-+]?[0-9]{4}(?-u:\b)",
            Self::ApiKey => API_KEY,
        }
    }

    /// Returns the size in bytes of the match with which a candidate begins; `None` if it is not a match.
    pub(crate) fn check(self, candidate: &Candidate<'_>) -> Option<usize> {
        let text = candidate.text;
        let is_match = match self {
            Self::Email => is_email(candidate),
            Self::Phone => is_phone(candidate),
            Self::Iban => return iban(candidate),
            Self::Card => return card(candidate),
            // A longer number with dots, such as a version, is a candidate too, but is not an address.
            Self::Ipv4 => {
                candidate.before != Some('.') && text.parse::<std::net::Ipv4Addr>().is_ok()
            }
            Self::Ipv6 => is_ipv6(candidate),
            Self::Ssn => is_ssn(text),
            Self::Nino => !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].contains(&&text[..2]),
            Self::Personnummer => is_personnummer(text),
            Self::ApiKey => true,
        };
        is_match.then_some(text.len())
    }
}

fn digits(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.map(|digit| digit - b'0').collect()
}

fn is_word(letter: Option<char>) -> bool {
    letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
}

fn is_email(candidate: &Candidate<'_>) -> bool {
    let local = candidate.text.split('@').next().unwrap_or_default();
    let local = local.trim_end_matches(INVISIBLE);
    let is_dotted = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    // Scripts without spaces between words may be right before an address.
    let is_part = |letter: char| letter < '\u{530}' && letter.is_alphanumeric() || letter == '_';
    !is_dotted && !candidate.before.is_some_and(is_part)
}

fn is_phone(candidate: &Candidate<'_>) -> bool {
    let digits = digits(candidate.text);
    (8..=15).contains(&digits.len()) && country_code(&digits) && !is_word(candidate.before)
}

/// Finds the size of an account number by its country; letters that follow it may belong to the next word.
fn iban(candidate: &Candidate<'_>) -> Option<usize> {
    let text = candidate.text;
    let wanted = iban_size(&text.get(..2)?.to_ascii_uppercase())?;
    let mut plain = String::with_capacity(wanted);
    let mut end = 0;
    for (place, letter) in text.char_indices() {
        if letter.is_ascii_alphanumeric() {
            plain.push(letter.to_ascii_uppercase());
        }
        end = place + letter.len_utf8();
        if plain.len() == wanted {
            break;
        }
    }
    let next = text[end..].chars().next().or(candidate.after);
    (plain.len() == wanted && !is_word(next) && is_iban(&plain)).then_some(end)
}

/// Finds the longest number with a right checksum; other digits may follow it after a space.
fn card(candidate: &Candidate<'_>) -> Option<usize> {
    let text = candidate.text;
    // Of the first digits, only these are those of payment cards.
    if !matches!(text.as_bytes().first(), Some(b'2'..=b'6')) {
        return None;
    }
    let separators = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| !byte.is_ascii_digit());
    let mut ends: Vec<usize> = separators.map(|(place, _)| place).collect();
    ends.push(text.len());
    let mut ends = ends.into_iter().rev();
    ends.find(|end| {
        let text = &text[..*end];
        let digits = digits(text);
        (12..=19).contains(&digits.len()) && is_luhn(&digits) && !is_dotted_otherwise(text)
    })
}

/// Returns `true` for numbers with dots that are not between groups of at least four digits, such as a fraction or an
/// address.
fn is_dotted_otherwise(text: &str) -> bool {
    let dots = text.matches('.').count();
    dots == 1 || dots > 1 && text.split('.').any(|group| digits(group).len() < 4)
}

fn is_ipv6(candidate: &Candidate<'_>) -> bool {
    let text = candidate.text;
    let touches = |letter: Option<char>| is_word(letter) || letter == Some(':');
    // Fewer digits occur in the paths of programming languages, such as `a::b`.
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits >= 4
        && !touches(candidate.before)
        && !touches(candidate.after)
        && text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Checks the numbers that are never issued (Social Security Administration, "SSN randomization").
fn is_ssn(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (area, group, serial) = (&text[..3], &text[4..6], &text[7..]);
    bytes[3] == bytes[6]
        && area != "000"
        && area != "666"
        && !area.starts_with('9')
        && group != "00"
        && serial != "0000"
}

/// Checks the date and the checksum. Numbers of coordination have 60 added to the day.
fn is_personnummer(text: &str) -> bool {
    let digits = digits(text);
    let Some(short) = digits
        .len()
        .checked_sub(10)
        .and_then(|start| digits.get(start..))
    else {
        return false;
    };
    let has_mark = text.contains(['-', '+']);
    let two = |place: usize| 10 * short[place] + short[place + 1];
    let day = if two(4) > 60 { two(4) - 60 } else { two(4) };
    // Without a mark, only the form with a century is distinct enough from other numbers.
    (has_mark || digits.len() == 12)
        && (1..=12).contains(&two(2))
        && (1..=31).contains(&day)
        && is_luhn(short)
}

#[cfg(test)]
mod tests;
