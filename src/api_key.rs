//! API keys: how one is made, and the hash by which the settings know it.

use std::{fs::File, io, io::Read};

use sha2::{Digest as _, Sha256};

/// The prefix of every key, so that secret scanners recognise a key that leaked.
const PREFIX: &str = "kebne-";
/// Random bytes of a key. With 256 random bits a plain hash suffices, because the key cannot be guessed.
const KEY_BYTES: usize = 32;

/// Creates a new key from the system's source of randomness.
///
/// # Errors
/// Returns an error if the system has no randomness.
pub fn generate() -> io::Result<String> {
    let mut random = [0_u8; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{PREFIX}{}", hex::encode(random)))
}

/// The SHA-256 of a key.
pub type Digest = [u8; 32];

/// Returns the digest of a key.
pub fn digest(key: &str) -> Digest {
    Sha256::digest(key.as_bytes()).into()
}

/// Reads a hash as the settings hold it; `None` if it is not one.
pub fn read_hash(hash: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(hash, &mut digest).ok()?;
    Some(digest)
}

/// Returns the hash of a key as the settings hold it: SHA-256 in lowercase hexadecimal.
pub fn hash(key: &str) -> String {
    hex::encode(digest(key))
}
