//! Encrypts stored data: XChaCha20-Poly1305 with a fresh 192-bit nonce for each piece (draft-irtf-cfrg-xchacha).
//!
//! What a piece is about, such as its owner and its place, is its associated data, so that no piece can replace another.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_SIZE: usize = 32;
/// Bytes of the nonce at the beginning of each sealed piece.
const NONCE_SIZE: usize = 24;
/// The maximum number of old keys. Each piece is tried with each key, and old keys are dropped after a rotation.
const OLD_KEYS_MAX: usize = 8;

/// The reason why keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// A key is not 64 hexadecimal digits.
    #[error("must be {} hexadecimal digits (32 bytes), for example from `openssl rand -hex 32`", KEY_SIZE * 2)]
    Digits,
    /// Too many old keys.
    #[error("must hold at most {OLD_KEYS_MAX} keys")]
    TooMany,
    /// Old keys are set without a key to encrypt with.
    #[error("is set, and there is no key to encrypt with")]
    NoCurrent,
}

/// The reason why a piece cannot be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot encrypt: {0}")]
pub struct SealError(String);

/// Returns a new key of random bytes.
///
/// # Errors
/// Returns an error if the system has no random bytes.
pub fn new_key() -> Result<Zeroizing<[u8; KEY_SIZE]>, SealError> {
    let mut key = Zeroizing::new([0; KEY_SIZE]);
    getrandom::fill(&mut *key).map_err(|error| SealError(error.to_string()))?;
    Ok(key)
}

/// The keys of a store: the first key encrypts, all keys decrypt.
#[derive(Clone)]
pub struct Keyring {
    ciphers: Vec<XChaCha20Poly1305>,
    /// The same keys, to derive others from.
    keys: Vec<Zeroizing<[u8; KEY_SIZE]>>,
}

impl Keyring {
    /// Creates a keyring of one key.
    pub fn from_bytes(key: &[u8; KEY_SIZE]) -> Self {
        let mut keyring = Self {
            ciphers: Vec::new(),
            keys: Vec::new(),
        };
        keyring.add(Zeroizing::new(*key));
        keyring
    }

    fn add(&mut self, key: Zeroizing<[u8; KEY_SIZE]>) {
        self.ciphers.push(XChaCha20Poly1305::new((&*key).into()));
        self.keys.push(key);
    }

    /// Returns the bytes of the keys, the one that encrypts first.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| key.as_slice())
    }

    /// Reads the key that encrypts.
    ///
    /// # Errors
    /// Returns an error if the text is not 64 hexadecimal digits.
    pub fn from_hex(current: &str) -> Result<Self, BadKey> {
        let key = read(current)?;
        Ok(Self::from_bytes(&key))
    }

    /// Adds keys that only decrypt, separated by white space or commas.
    ///
    /// # Errors
    /// Returns an error if one of them is not 64 hexadecimal digits, or there are more than 8.
    pub fn with_old(mut self, old: &str) -> Result<Self, BadKey> {
        let separated = old.split(|separator: char| separator == ',' || separator.is_whitespace());
        for key in separated.filter(|key| !key.is_empty()) {
            if self.ciphers.len() > OLD_KEYS_MAX {
                return Err(BadKey::TooMany);
            }
            self.add(read(key)?);
        }
        Ok(self)
    }

    /// Seals a piece with the first key. `about` must be known to open it.
    ///
    /// # Errors
    /// Returns an error if the system has no random bytes, or the piece is too long.
    pub fn seal(&self, plain: &[u8], about: &str) -> Result<Vec<u8>, SealError> {
        let failed = |what: &str| SealError(what.to_owned());
        let cipher = self.ciphers.first().ok_or_else(|| failed("no key"))?;
        let mut nonce = [0; NONCE_SIZE];
        getrandom::fill(&mut nonce).map_err(|error| failed(&error.to_string()))?;
        let payload = Payload {
            msg: plain,
            aad: about.as_bytes(),
        };
        let sealed = cipher.encrypt((&nonce).into(), payload);
        let sealed = sealed.map_err(|_| failed("the piece is too long"))?;
        Ok([&nonce, sealed.as_slice()].concat())
    }

    /// Opens a sealed piece; returns its content and the index of its key. Returns `None` if it was modified or
    /// truncated, belongs to other associated data, or has a key that is not in the list.
    pub fn open(&self, sealed: &[u8], about: &str) -> Option<(Vec<u8>, usize)> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE_SIZE>()?;
        let aad = about.as_bytes();
        let mut keys = self.ciphers.iter().enumerate();
        keys.find_map(|(place, cipher)| {
            let plain = cipher.decrypt(nonce.into(), Payload { msg, aad }).ok()?;
            Some((plain, place))
        })
    }
}

fn read(text: &str) -> Result<Zeroizing<[u8; KEY_SIZE]>, BadKey> {
    let mut key = Zeroizing::new([0; KEY_SIZE]);
    hex::decode_to_slice(text.trim(), &mut *key).map_err(|_| BadKey::Digits)?;
    Ok(key)
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keyring").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(digit: &str) -> Keyring {
        Keyring::from_hex(&digit.repeat(64)).unwrap()
    }

    fn open(keyring: &Keyring, sealed: &[u8], about: &str) -> Option<Vec<u8>> {
        keyring.open(sealed, about).map(|(plain, _)| plain)
    }

    #[test]
    fn a_piece_opens_only_with_its_key_in_its_place_and_unchanged() {
        let ours = keyring("a");
        let sealed = ours.seal(b"hello", "turn 1").unwrap();
        assert_eq!(open(&ours, &sealed, "turn 1").unwrap(), b"hello");
        assert_eq!(open(&keyring("b"), &sealed, "turn 1"), None);
        assert_eq!(open(&ours, &sealed, "turn 2"), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&ours, &changed, "turn 1"), None, "{at}");
            assert_eq!(open(&ours, &sealed[..at], "turn 1"), None, "{at}");
        }
    }

    #[test]
    fn old_keys_decrypt_and_the_first_key_encrypts() {
        let old = keyring("a").seal(b"hello", "x").unwrap();
        let rotated = keyring("b").with_old(&"a".repeat(64)).unwrap();
        assert_eq!(rotated.open(&old, "x"), Some((b"hello".to_vec(), 1)));
        let new = rotated.seal(b"hello", "x").unwrap();
        assert_eq!(rotated.open(&new, "x"), Some((b"hello".to_vec(), 0)));
        assert_eq!(keyring("a").open(&new, "x"), None);
    }

    #[test]
    fn the_same_piece_is_never_sealed_the_same() {
        let seal = || keyring("a").seal(b"hello", "x").unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_key_that_is_not_32_bytes_is_refused() {
        for text in ["", "ab", &"a".repeat(63), &"g".repeat(64), &"a".repeat(66)] {
            let refused = Keyring::from_hex(text).map(drop);
            assert_eq!(refused, Err(BadKey::Digits), "{text}");
        }
        let old = |text: &str| keyring("a").with_old(text).map(drop);
        let (b, c) = ("b".repeat(64), "c".repeat(64));
        assert_eq!(old(""), Ok(()));
        assert_eq!(old(&format!("{b}, {c}\n")), Ok(()));
        assert_eq!(old(&format!("{b} ab")), Err(BadKey::Digits));
        assert_eq!(old(&format!("{b} ").repeat(8)), Ok(()));
        assert_eq!(old(&format!("{b} ").repeat(9)), Err(BadKey::TooMany));
    }
}
