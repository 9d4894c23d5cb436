//! What the lanes have learned, kept in a file for the next start of the program.
//!
//! The file is a hint: one that cannot be read costs a warning and a slower start, and the program starts all the
//! same. What was learned of one server is not used for another. Only the owner of the process can read the file,
//! and it holds no secret of a `base_url`.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use kebne_control::Snapshot;
use serde::{Deserialize, Serialize};

use crate::settings::BackendSettings;

/// The version of the file's format; a file of another version is not read.
const VERSION: u32 = 1;
/// The largest file that is read: far above what lanes write.
const SIZE_MAX: u64 = 4 << 20;
/// Lanes that are kept, including those that the settings no longer name.
const LANES_MAX: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    lanes: BTreeMap<String, Lane>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lane {
    /// The server that it was learned of, as [`fingerprint`] names it.
    backend: String,
    learned: Snapshot,
}

/// The file, and what it holds.
#[derive(Debug)]
pub struct Learned {
    path: PathBuf,
    lanes: BTreeMap<String, Lane>,
    written: BTreeMap<String, Lane>,
}

impl Learned {
    /// Reads the file at `path` if there is one. Returns `None` for an empty path, which means that nothing is
    /// kept.
    pub fn open(path: &Path) -> Option<Self> {
        if path.as_os_str().is_empty() {
            return None;
        }
        let lanes = read(path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::warn!(%path, %error, "what was learned earlier cannot be read; it is learned anew");
            BTreeMap::new()
        });
        Some(Self {
            path: path.to_owned(),
            written: lanes.clone(),
            lanes,
        })
    }

    /// Returns what was learned of a backend.
    pub fn of(&self, backend: &BackendSettings) -> Option<Snapshot> {
        let lane = self.lanes.get(&backend.name)?;
        (lane.backend == fingerprint(backend)).then(|| lane.learned.clone())
    }

    /// Takes note of what is known of a backend now.
    pub fn note(&mut self, backend: &BackendSettings, mut learned: Snapshot) {
        learned.momentary = None;
        let lane = Lane {
            backend: fingerprint(backend),
            learned,
        };
        if self.lanes.contains_key(&backend.name) || self.lanes.len() < LANES_MAX {
            self.lanes.insert(backend.name.clone(), lane);
        }
    }

    /// Writes the file again if there is something new.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written; the old one is then still there.
    pub fn write(&mut self) -> io::Result<()> {
        if self.lanes == self.written {
            return Ok(());
        }
        let kept = Kept {
            version: VERSION,
            lanes: self.lanes.clone(),
        };
        let text = serde_json::to_vec_pretty(&kept)?;
        let folder = self.path.parent();
        if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        // A process that ends half way leaves the old file whole.
        let draft = self
            .path
            .with_extension(format!("{}.draft", std::process::id()));
        // A draft that an earlier process left may have other permissions.
        fs::remove_file(&draft).ok();
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(&draft)?.write_all(&text)?;
        fs::rename(&draft, &self.path)?;
        self.written = kept.lanes;
        Ok(())
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Lane>> {
    let wrong = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message.to_owned());
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
        Ok(found) if found.len() > SIZE_MAX => return Err(wrong("the file is too large")),
        Ok(_) => {}
    }
    let kept: Kept = serde_json::from_slice(&fs::read(path)?)?;
    if kept.version != VERSION {
        return Err(wrong("the file is of another version"));
    }
    Ok(kept.lanes)
}

/// Names the server that something was learned of, without secrets.
fn fingerprint(backend: &BackendSettings) -> String {
    let url = backend.base_url.as_ref();
    let url = url.map_or_else(|| "in process".to_owned(), ToString::to_string);
    let model = backend.model.as_deref().unwrap_or("as asked");
    format!("{:?} {url} {model}", backend.kind)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::settings::BaseUrl;

    fn backend(url: &str) -> BackendSettings {
        BackendSettings {
            name: "a".to_owned(),
            base_url: Some(BaseUrl::new(url)),
            ..BackendSettings::default()
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            limit: Some(12.0),
            ..Snapshot::default()
        }
    }

    #[test]
    fn what_was_written_is_believed_of_the_same_server_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/learned.json");
        let mut first = Learned::open(&path).unwrap();
        assert_eq!(first.of(&backend("http://one")), None);
        first.note(&backend("http://one"), snapshot());
        first.write().unwrap();
        first.note(&backend("http://ann:passw0rd@three?key=abc"), snapshot());
        first.write().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("passw0rd") && !text.contains("abc"),
            "{text}"
        );
        first.note(&backend("http://one"), snapshot());
        first.write().unwrap();
        let second = Learned::open(&path).unwrap();
        assert_eq!(second.of(&backend("http://one")), Some(snapshot()));
        assert_eq!(second.of(&backend("http://two")), None);
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "no draft is left behind");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn the_file_is_the_owners_alone_and_holds_no_secret_of_a_url() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        // A draft of an earlier process with this id, open to all.
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        fs::write(&draft, "x").unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).unwrap();
        let mut learned = Learned::open(&path).unwrap();
        let secret = backend("https://user:hunter2@one:8443/v1?api-key=hunter3&region=eu&hunter4");
        learned.note(&secret, snapshot());
        learned.write().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hunter"), "{text}");
        let again = Learned::open(&path).unwrap();
        assert_eq!(again.of(&secret), Some(snapshot()));
    }

    #[test]
    fn nothing_is_written_when_nothing_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        let mut learned = Learned::open(&path).unwrap();
        learned.write().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        for text in ["", "{", "[]", r#"{"version":99,"lanes":{}}"#] {
            fs::write(&path, text).unwrap();
            let learned = Learned::open(&path).unwrap();
            assert_eq!(learned.of(&backend("http://one")), None, "{text}");
        }
        assert!(Learned::open(Path::new("")).is_none());
    }
}
