//! `kebne key`: a new API key. The key is shown once; the settings hold its hash only.

use std::{
    fs::File,
    io::{Read, Write},
};

use sha2::{Digest, Sha256};

use crate::cli::CommandError;

/// What every key begins with, so that secret scanners recognise one that leaked.
const PREFIX: &str = "kebne-";

/// 256 bits: with that much chance in the key a plain hash suffices, because it cannot be guessed.
const KEY_BYTES: usize = 32;

/// Makes a key and prints it with the hash for the settings.
///
/// # Errors
/// When the system has no randomness or the output cannot be written.
pub fn run(output: &mut dyn Write) -> Result<(), CommandError> {
    let mut random = [0_u8; KEY_BYTES];
    let mut source = File::open("/dev/urandom").map_err(CommandError::Randomness)?;
    source
        .read_exact(&mut random)
        .map_err(CommandError::Randomness)?;
    let key = format!("{PREFIX}{}", hex::encode(random));
    writeln!(output, "key:  {key}")?;
    writeln!(output, "hash: {}", hash(&key))?;
    Ok(())
}

/// Returns the hash of a key as the settings hold it: SHA-256 in lowercase hexadecimal.
pub fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_new_and_printed_with_its_own_hash() {
        let mut keys = Vec::new();
        for _ in 0..2 {
            let mut output = Vec::new();
            run(&mut output).unwrap();
            let text = String::from_utf8(output).unwrap();
            let (key, hashed) = text.trim().split_once('\n').unwrap();
            let key = key.strip_prefix("key:  ").unwrap().to_owned();
            assert_eq!(hashed.strip_prefix("hash: ").unwrap(), hash(&key));
            keys.push(key);
        }
        assert_ne!(keys[0], keys[1]);
        assert_eq!(keys[0].len(), PREFIX.len() + 2 * KEY_BYTES);
    }

    #[test]
    fn the_hash_is_sha_256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc"), expected);
    }
}
