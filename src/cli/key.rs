//! `kebne key`: creates an API key. The key is shown once; the settings hold only its hash.

use std::io::Write;

use crate::{api_key, cli::CommandError};

/// Creates a key and prints it with the hash for the settings.
///
/// # Errors
/// The system has no randomness, or the output cannot be written.
pub fn run(output: &mut dyn Write) -> Result<(), CommandError> {
    let key = api_key::generate().map_err(CommandError::Randomness)?;
    writeln!(output, "key:  {key}")?;
    writeln!(output, "hash: {}", api_key::hash(&key))?;
    Ok(())
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
            assert_eq!(hashed.strip_prefix("hash: ").unwrap(), api_key::hash(&key));
            keys.push(key);
        }
        assert_ne!(keys[0], keys[1]);
        assert_eq!(keys[0].len(), "kebne-".len() + 64);
    }

    #[test]
    fn the_hash_is_sha_256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(api_key::hash("abc"), expected);
    }
}
