//! What was approved of the tools of servers: a file with the digest of each definition.
//!
//! A server can change what a model reads of a tool at any time, and so have models do something else. So a tool whose definition is not the
//! one that was approved is held: it is neither shown nor called until an operator approves it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

/// The largest file that is read.
const SIZE_MAX: u64 = 64 << 20;

/// Which tools wait for an approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// None. Nothing is remembered.
    Nothing,
    /// Those that have changed. A tool that is seen for the first time is approved.
    #[default]
    Changes,
    /// Those that have changed, and those that are new.
    All,
}

/// The reason why pins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The file cannot be read or written.
    #[error("the file of approved tools `{}`: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// The file has another content.
    #[error("the file of approved tools `{}` cannot be read: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: serde_json::Error,
    },
}

/// What is known of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    /// The digest of the definition that was approved; `None` if none was.
    approved: Option<String>,
    /// The digest of the definition that was seen last.
    seen: String,
}

/// By server and tool.
type Book = BTreeMap<String, BTreeMap<String, Pin>>;

/// What was approved of the tools of all servers.
///
/// The file is read when it is needed first. While it cannot be read all tools are held, because one of them may have been held before, and the
/// file is read again each time.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    /// `None` until the file has been read.
    book: Mutex<Option<Book>>,
}

impl Pins {
    /// Creates the pins of a file. One that does not exist is empty.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            book: Mutex::new(None),
        }
    }

    /// Notes the tools of a server, given by their names and digests. Returns for each of them whether it is held, and whether this is new.
    pub(crate) fn note(&self, server: &str, tools: &[(&str, &str)], hold: Hold) -> Vec<Noted> {
        if hold == Hold::Nothing {
            return tools.iter().map(|_| Noted::default()).collect();
        }
        let mut book = self.lock();
        let book = match self.read(&mut book) {
            Ok(book) => book,
            Err(error) => {
                tracing::error!(%server, %error, "its tools are held, because nobody knows which were approved");
                let held = Noted {
                    is_held: true,
                    is_new: false,
                };
                return vec![held; tools.len()];
            }
        };
        let known = book.entry(server.to_owned()).or_default();
        let mut has_changed = false;
        let noted = tools.iter().map(|(name, digest)| {
            let pin = known.entry((*name).to_owned()).or_insert_with(|| {
                has_changed = true;
                Pin {
                    approved: (hold == Hold::Changes).then(|| (*digest).to_owned()),
                    seen: String::new(),
                }
            });
            let is_other = pin.seen != *digest;
            if is_other {
                has_changed = true;
                (*digest).clone_into(&mut pin.seen);
            }
            let is_held = pin.approved.as_deref() != Some(*digest);
            Noted {
                is_held,
                is_new: is_held && is_other,
            }
        });
        let noted = noted.collect();
        if has_changed {
            self.write(book);
        }
        noted
    }

    /// Approves the tools of a server as they were seen last: one, or all of them. Returns the names of those that were held.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or if the approval cannot be written: then it is in effect until the process ends.
    pub fn approve(&self, server: &str, tool: Option<&str>) -> Result<Vec<String>, PinsError> {
        let mut book = self.lock();
        let book = self.read(&mut book)?;
        let known = book.entry(server.to_owned()).or_default();
        let mut approved = Vec::new();
        for (name, pin) in known.iter_mut() {
            let is_meant = tool.is_none_or(|tool| tool == name);
            if is_meant && pin.approved.as_deref() != Some(&*pin.seen) {
                pin.approved = Some(pin.seen.clone());
                approved.push(name.clone());
            }
        }
        if !approved.is_empty() {
            write(&self.path, book).map_err(|error| failed(&self.path, error))?;
        }
        Ok(approved)
    }

    fn write(&self, book: &Book) {
        if let Err(error) = write(&self.path, book) {
            let path = self.path.display();
            tracing::error!(%path, %error, "the file of approved tools is not written: a restart forgets what was seen");
        }
    }

    /// Returns what is known, after reading the file if it has not been read.
    fn read<'a>(&self, book: &'a mut Option<Book>) -> Result<&'a mut Book, PinsError> {
        match book {
            Some(book) => Ok(book),
            None => Ok(book.insert(read(&self.path)?)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Book>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What pins say of a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// It is neither shown nor called.
    pub(crate) is_held: bool,
    /// It is held since now.
    pub(crate) is_new: bool,
}

fn failed(path: &Path, error: io::Error) -> PinsError {
    PinsError::File {
        path: path.to_owned(),
        error,
    }
}

fn read(path: &Path) -> Result<Book, PinsError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Book::new()),
        Err(error) => Err(failed(path, error)),
        Ok(known) if known.len() > SIZE_MAX => {
            Err(failed(path, io::Error::other("it is larger than 64 MiB")))
        }
        Ok(_) => {
            let text = fs::read(path).map_err(|error| failed(path, error))?;
            serde_json::from_slice(&text).map_err(|error| PinsError::Content {
                path: path.to_owned(),
                error,
            })
        }
    }
}

/// Replaces the file as a whole, so that a process that is killed leaves the old or the new one.
fn write(path: &Path, book: &Book) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(book)?)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(noted: &[Noted]) -> Vec<(bool, bool)> {
        let each = noted.iter();
        each.map(|noted| (noted.is_held, noted.is_new)).collect()
    }

    #[test]
    fn a_change_is_held_until_it_is_approved_also_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/pins.json");
        let pins = Pins::new(path.clone());
        let hold = Hold::Changes;
        assert_eq!(
            held(&pins.note("s", &[("a", "1"), ("b", "1")], hold)),
            [(false, false), (false, false)]
        );
        assert_eq!(held(&pins.note("s", &[("a", "2")], hold)), [(true, true)]);
        let pins = Pins::new(path.clone());
        assert_eq!(held(&pins.note("s", &[("a", "2")], hold)), [(true, false)]);
        assert_eq!(pins.approve("s", Some("b")).unwrap(), [""; 0]);
        assert_eq!(pins.approve("other", None).unwrap(), [""; 0]);
        assert_eq!(pins.approve("s", Some("a")).unwrap(), ["a"]);
        let pins = Pins::new(path.clone());
        assert_eq!(held(&pins.note("s", &[("a", "2")], hold)), [(false, false)]);
        // What was approved before is not approved for ever.
        assert_eq!(held(&pins.note("s", &[("a", "1")], hold)), [(true, true)]);
        // A tool that was away and comes back with another text is held.
        assert_eq!(held(&pins.note("s", &[], hold)), []);
        assert_eq!(held(&pins.note("s", &[("b", "9")], hold)), [(true, true)]);
    }

    #[test]
    fn new_tools_are_held_only_if_all_are() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::new(folder.path().join("p"));
        let one = [("a", "1")];
        assert_eq!(held(&pins.note("x", &one, Hold::Nothing)), [(false, false)]);
        assert_eq!(
            held(&pins.note("x", &[("a", "2")], Hold::Nothing)),
            [(false, false)]
        );
        assert_eq!(held(&pins.note("s", &one, Hold::All)), [(true, true)]);
        assert_eq!(pins.approve("s", None).unwrap(), ["a"]);
        assert_eq!(held(&pins.note("s", &one, Hold::All)), [(false, false)]);
    }

    #[test]
    fn a_file_that_cannot_be_read_approves_nothing_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        fs::write(&path, "{").unwrap();
        let pins = Pins::new(path.clone());
        let one = [("a", "1")];
        assert_eq!(held(&pins.note("s", &one, Hold::Changes)), [(true, false)]);
        let error = pins.approve("s", None).unwrap_err();
        assert!(matches!(error, PinsError::Content { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{");
        fs::remove_file(&path).unwrap();
        assert_eq!(held(&pins.note("s", &one, Hold::Changes)), [(false, false)]);
    }
}
