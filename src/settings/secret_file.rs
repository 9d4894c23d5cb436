//! Secrets in files, as container engines mount them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The largest file of a secret that is read.
const SIZE_MAX: u64 = 64 << 10;

/// The reason why a file has no usable secret. It does not contain the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("the file `{}` cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// It is empty.
    #[error("the file `{}` is empty", .0.display())]
    Empty(PathBuf),
}

/// Reads the secret in a file, without the white space around it.
///
/// # Errors
/// See [`SecretFileError`].
pub fn read(path: &Path) -> Result<String, SecretFileError> {
    let unreadable = |error| SecretFileError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    let taken = file.take(SIZE_MAX + 1).read_to_string(&mut text);
    taken.map_err(unreadable)?;
    if text.len() as u64 > SIZE_MAX {
        let error = io::Error::other(format!("it is larger than {} KiB", SIZE_MAX >> 10));
        return Err(unreadable(error));
    }
    let secret = text.trim();
    if secret.is_empty() {
        return Err(SecretFileError::Empty(path.to_owned()));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_without_its_line_break_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-1\n").unwrap();
        assert_eq!(read(&path).unwrap(), "sk-1");
        let large = b"a".repeat(70_000);
        for content in [&b" \n"[..], b"sk-\xff", &large] {
            std::fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("key`"), "{error}");
            assert!(!error.contains("sk-") && !error.contains("aaa"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("key`"));
    }
}
