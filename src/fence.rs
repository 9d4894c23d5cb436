//! The numbers of the marks between which a prompt quotes texts that nobody vouches for.
//!
//! A number is a digest of the quoted texts with a secret of this process, so that no author of a text can know it, and the same call has
//! the same prompt while the process lives: servers find its beginning in their caches.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The bytes of a number: two numbers are equal by chance once in 2^48.
const SIZE: usize = 6;

/// Makes the numbers of marks.
#[derive(Clone)]
pub struct Fence([u8; 32]);

impl Fence {
    /// Creates it with a secret.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Creates it with a secret that nobody knows.
    pub fn random() -> Self {
        let mut secret = [0; 32];
        if let Err(error) = getrandom::fill(&mut secret) {
            // Marks that can be guessed are still marks.
            tracing::error!(%error, "there are no random bytes for the marks around quoted texts");
        }
        Self(secret)
    }

    /// Returns the number of the marks around texts: twelve hexadecimal digits.
    pub fn number<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> String {
        // A key may have any length.
        let Ok(mut digest) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        for text in texts {
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            digest.update(&length.to_le_bytes());
            digest.update(text.as_bytes());
        }
        let digest = digest.finalize().into_bytes();
        hex::encode(&digest[..SIZE])
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fence").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_depends_on_the_secret_and_on_each_text() {
        let (ours, theirs) = (Fence::new([1; 32]), Fence::new([2; 32]));
        let number = ours.number(["a", "b"]);
        assert_eq!(number.len(), 12);
        assert_eq!(number, ours.number(["a", "b"]));
        for other in [
            theirs.number(["a", "b"]),
            ours.number(["ab", ""]),
            ours.number(["a"]),
        ] {
            assert_ne!(number, other);
        }
    }
}
