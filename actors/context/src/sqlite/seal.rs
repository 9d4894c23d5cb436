//! Seals what is kept: XChaCha20-Poly1305 with a fresh 192-bit nonce for each piece (draft-irtf-cfrg-xchacha).
//!
//! What a piece is about (which session, which turn) goes in as associated data, so that no piece can be put
//! in the place of another.

use crate::store::StoreError;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

/// Bytes of a key.
const KEY_SIZE: usize = 32;
/// Bytes of the nonce that stands before each sealed piece.
const NONCE_SIZE: usize = 24;

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {} hexadecimal digits (32 bytes), for example from `openssl rand -hex 32`", KEY_SIZE * 2)]
pub struct BadKey;

/// Seals and opens pieces under one key.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    /// Reads a key.
    ///
    /// # Errors
    /// When the text is not 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, BadKey> {
        let mut key = Zeroizing::new([0; KEY_SIZE]);
        hex::decode_to_slice(text.trim(), &mut *key).map_err(|_| BadKey)?;
        Ok(Self {
            cipher: XChaCha20Poly1305::new((&*key).into()),
        })
    }

    /// Seals a piece.
    pub(super) fn seal(&self, plain: &[u8], about: &str) -> Result<Vec<u8>, StoreError> {
        let failed = |what: &str| StoreError::Failed(format!("cannot encrypt: {what}"));
        let mut nonce = [0; NONCE_SIZE];
        getrandom::fill(&mut nonce).map_err(|error| failed(&error.to_string()))?;
        let payload = Payload {
            msg: plain,
            aad: about.as_bytes(),
        };
        let sealed = self.cipher.encrypt((&nonce).into(), payload);
        let sealed = sealed.map_err(|_| failed("the piece is too long"))?;
        Ok([&nonce, sealed.as_slice()].concat())
    }

    /// Opens a sealed piece; `None` when it was changed, cut off, belongs elsewhere or has another key.
    pub(super) fn open(&self, sealed: &[u8], about: &str) -> Option<Vec<u8>> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE_SIZE>()?;
        let aad = about.as_bytes();
        self.cipher.decrypt(nonce.into(), Payload { msg, aad }).ok()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sealer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(digit: &str) -> Sealer {
        Sealer::from_hex(&digit.repeat(64)).unwrap()
    }

    #[test]
    fn a_piece_opens_only_with_its_key_in_its_place_and_unchanged() {
        let sealed = sealer("a").seal(b"hello", "turn 1").unwrap();
        assert_eq!(sealer("a").open(&sealed, "turn 1").unwrap(), b"hello");
        assert_eq!(sealer("b").open(&sealed, "turn 1"), None);
        assert_eq!(sealer("a").open(&sealed, "turn 2"), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer("a").open(&changed, "turn 1"), None, "{at}");
            assert_eq!(sealer("a").open(&sealed[..at], "turn 1"), None, "{at}");
        }
    }

    #[test]
    fn the_same_piece_is_never_sealed_the_same() {
        let seal = || sealer("a").seal(b"hello", "x").unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_key_that_is_not_32_bytes_is_refused() {
        for text in ["", "ab", &"a".repeat(63), &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(Sealer::from_hex(text).map(drop), Err(BadKey), "{text}");
        }
    }
}
