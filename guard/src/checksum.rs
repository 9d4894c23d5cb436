//! Checksums and tables of numbers that are issued by rules.

/// The sizes of account numbers by country (ISO 13616, the registry of SWIFT).
const IBANS: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

/// Country codes of two digits (ITU-T E.164, list of assigned codes); 1 and 7 have one, all others three.
const TWO_DIGITS: [u8; 44] = [
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56,
    57, 58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];
/// The first two digits of country codes of three.
const THREE_DIGITS: [u8; 19] = [
    21, 22, 23, 24, 25, 26, 29, 35, 37, 38, 42, 50, 59, 67, 68, 69, 85, 88, 96,
];
/// The first two digits of country codes of three, the rest: western Asia, central Asia, and shared services.
const THREE_DIGITS_MORE: [u8; 4] = [80, 87, 97, 99];

/// Returns `true` if the checksum of Luhn is right (ISO/IEC 7812-1, annex B).
pub(crate) fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match place % 2 {
                0 => digit,
                _ if digit > 4 => 2 * digit - 9,
                _ => 2 * digit,
            }
        })
        .sum();
    sum > 0 && sum.is_multiple_of(10)
}

/// Returns the size of the account numbers of a country; `None` if it has none.
pub(crate) fn iban_size(country: &str) -> Option<usize> {
    let mut entries = IBANS.as_bytes().chunks_exact(4);
    let entry = entries.find(|entry| &entry[..2] == country.as_bytes())?;
    str::from_utf8(&entry[2..]).ok()?.parse().ok()
}

/// Returns `true` if the number modulo 97 is 1 (ISO 7064); the text has no spaces.
pub(crate) fn is_iban(text: &str) -> bool {
    let Some((head, rest)) = text.split_at_checked(4) else {
        return false;
    };
    let mut remainder = 0;
    for letter in rest.chars().chain(head.chars()) {
        let Some(value) = letter.to_digit(36) else {
            return false;
        };
        let scale = if value > 9 { 100 } else { 10 };
        remainder = (remainder * scale + value) % 97;
    }
    remainder == 1
}

/// Returns `true` if the digits begin with a country code that is assigned.
pub(crate) fn country_code(digits: &[u8]) -> bool {
    match digits {
        [1 | 7, ..] => true,
        [first, second, ..] => {
            let two = 10 * first + second;
            TWO_DIGITS.contains(&two)
                || THREE_DIGITS.contains(&two)
                || THREE_DIGITS_MORE.contains(&two)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        let digits = |text: &str| -> Vec<u8> { text.bytes().map(|byte| byte - b'0').collect() };
        for right in [
            "4111111111111111",
            "5555555555554444",
            "378282246310005",
            "79927398713",
        ] {
            assert!(is_luhn(&digits(right)), "{right}");
            let mut wrong = digits(right);
            for place in 0..wrong.len() {
                wrong[place] = (wrong[place] + 1) % 10;
                assert!(!is_luhn(&wrong), "{right} {place}");
                wrong[place] = (wrong[place] + 9) % 10;
            }
        }
        assert!(!is_luhn(&[0; 16]));
        for right in [
            "GB82WEST12345698765432",
            "DE89370400440532013000",
            "SE4550000000058398257466",
            "NO9386011117947",
            "FR1420041010050500013M02606",
        ] {
            assert!(is_iban(right), "{right}");
            assert_eq!(iban_size(&right[..2]), Some(right.len()), "{right}");
        }
        assert!(!is_iban("GB82WEST12345698765433"));
        assert_eq!(iban_size("US"), None);
        assert_eq!(IBANS.len() % 4, 0);
    }

    #[test]
    fn a_number_begins_with_an_assigned_country_code() {
        for (digits, is_known) in [
            (&[4, 6, 7, 0][..], true),
            (&[1, 2, 1, 2], true),
            (&[3, 5, 8, 4], true),
            (&[2, 8, 1, 1], false),
            (&[8, 9, 1, 1], false),
            (&[4], false),
        ] {
            assert_eq!(country_code(digits), is_known, "{digits:?}");
        }
    }
}
