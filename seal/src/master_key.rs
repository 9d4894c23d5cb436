//! The check of a store's master key, and signatures with it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::keyring::{Keyring, SealError};

/// Bytes of a signature.
pub const SIGNATURE_SIZE: usize = 32;

/// The reason why a keyring does not fit a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongKey {
    /// The file was encrypted with another key.
    #[error("the key is not the one that the file was encrypted with")]
    Other,
    /// The file is encrypted, and there is no key.
    #[error("the file is encrypted, and no key is set")]
    Missing,
    /// The file is not encrypted, and there is a key.
    #[error("a key is set, but the file was written without encryption")]
    Needless,
}

/// Returns the check of a new file: a piece that distinguishes a wrong key from damage. `about` names the kind of the file.
///
/// # Errors
/// Returns an error if the system has no random bytes.
pub fn new_check(keyring: &Keyring, about: &str) -> Result<Vec<u8>, SealError> {
    keyring.seal(b"", about)
}

/// Compares a keyring with the check of a file. Returns `true` if the check is sealed with an old key, so that the file is to be wrapped
/// again.
///
/// # Errors
/// Returns an error if they do not fit.
pub fn compare_check(
    keyring: Option<&Keyring>,
    check: Option<&[u8]>,
    about: &str,
) -> Result<bool, WrongKey> {
    match (keyring, check) {
        (None, None) => Ok(false),
        (Some(keyring), Some(check)) => {
            let (_, place) = keyring.open(check, about).ok_or(WrongKey::Other)?;
            Ok(place > 0)
        }
        (None, Some(_)) => Err(WrongKey::Missing),
        (Some(_), None) => Err(WrongKey::Needless),
    }
}

impl Keyring {
    /// Signs data with HMAC-SHA-256 (RFC 2104) under a key that is derived from the first key for this purpose.
    ///
    /// `signature = HMAC(HMAC(key, "kebne signature " + purpose), data)`
    pub fn sign(&self, purpose: &str, data: &[u8]) -> [u8; SIGNATURE_SIZE] {
        let first = self.bytes().next();
        // A keyring has at least one key.
        first.map_or([0; SIGNATURE_SIZE], |key| mac(&subkey(key, purpose), data))
    }

    /// Returns `true` if one of the keys has signed the data. The time does not depend on the signature.
    pub fn has_signed(&self, purpose: &str, data: &[u8], signature: &[u8]) -> bool {
        self.bytes().any(|key| {
            let mac = Hmac::<Sha256>::new_from_slice(&subkey(key, purpose));
            mac.is_ok_and(|mac| mac.chain_update(data).verify_slice(signature).is_ok())
        })
    }
}

fn subkey(key: &[u8], purpose: &str) -> [u8; SIGNATURE_SIZE] {
    mac(key, format!("kebne signature {purpose}").as_bytes())
}

fn mac(key: &[u8], data: &[u8]) -> [u8; SIGNATURE_SIZE] {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    // HMAC takes keys of any length.
    mac.map_or([0; SIGNATURE_SIZE], |mac| {
        mac.chain_update(data).finalize().into_bytes().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(digit: &str) -> Keyring {
        Keyring::from_hex(&digit.repeat(64)).unwrap()
    }

    #[test]
    fn a_check_tells_the_key_an_old_key_and_none_apart() {
        let check = new_check(&keyring("a"), "store").unwrap();
        let compare = |keyring: Option<&Keyring>, check: Option<&[u8]>| {
            compare_check(keyring, check, "store")
        };
        let rotated = keyring("b").with_old(&"a".repeat(64)).unwrap();
        assert_eq!(compare(Some(&keyring("a")), Some(&check)), Ok(false));
        assert_eq!(compare(Some(&rotated), Some(&check)), Ok(true));
        assert_eq!(compare(None, None), Ok(false));
        assert_eq!(
            compare(Some(&keyring("b")), Some(&check)),
            Err(WrongKey::Other)
        );
        assert_eq!(compare(None, Some(&check)), Err(WrongKey::Missing));
        assert_eq!(compare(Some(&rotated), None), Err(WrongKey::Needless));
        let other = compare_check(Some(&keyring("a")), Some(&check), "other");
        assert_eq!(other, Err(WrongKey::Other));
    }

    #[test]
    fn a_signature_is_of_one_key_one_purpose_and_one_text() {
        let key = keyring("a");
        let signature = key.sign("report", b"text");
        assert!(key.has_signed("report", b"text", &signature));
        let rotated = keyring("b").with_old(&"a".repeat(64)).unwrap();
        assert!(rotated.has_signed("report", b"text", &signature));
        assert!(!keyring("b").has_signed("report", b"text", &signature));
        assert!(!key.has_signed("other", b"text", &signature));
        assert!(!key.has_signed("report", b"texts", &signature));
        assert!(!key.has_signed("report", b"text", &signature[..31]));
        // The formula, computed step by step.
        let step = |key: &[u8], data: &[u8]| -> [u8; 32] {
            let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.chain_update(data).finalize().into_bytes().into()
        };
        let of_purpose = step(&[0xaa; 32], b"kebne signature report");
        assert_eq!(signature, step(&of_purpose, b"text"));
    }
}
