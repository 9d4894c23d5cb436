//! What the lanes and the monitor have learned, kept in a file for the next start of the program.
//!
//! The file is a hint: if it cannot be read, the program warns and learns anew, and a value that is not plausible is
//! ignored. What was learned of one server is not used for another. Only the owner of the process can read the file,
//! and it holds no secret of a `base_url`.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use kebne_control::{LoadTimes, Snapshot};
use kebne_monitor::Memory;
use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::BackendSettings;

/// The version of the file's format; a file of another version is not read.
const VERSION: u32 = 1;
/// The largest file that is read: above what a thousand lanes and the monitor write.
const SIZE_MAX: u64 = 16 << 20;
/// Lanes that are kept, including those that the settings no longer name.
const LANES_MAX: usize = 1000;

/// The plausible limits, in calls.
const LIMITS: (f64, f64) = (0.01, 1e6);
/// The plausible rates, per second: from one request an hour.
const RATES: (f64, f64) = (1.0 / 3600.0, 1e6);
/// The longest plausible load time.
const LOAD_TIME_MAX: Duration = Duration::from_hours(24);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    lanes: BTreeMap<String, Lane>,
    /// What the monitor keeps; `null` in files of versions that kept nothing of it.
    #[serde(default, deserialize_with = "memory")]
    monitor: Memory,
    /// The load times of the servers that the gateway starts.
    #[serde(default)]
    servers: BTreeMap<String, LoadTimes>,
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
    kept: Kept,
    written: Kept,
}

impl Learned {
    /// Reads the file at `path` if there is one. Returns `None` for an empty path, which means that nothing is
    /// kept.
    pub fn open(path: &Path) -> Option<Self> {
        if path.as_os_str().is_empty() {
            return None;
        }
        let kept = read(path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::warn!(%path, %error, "what was learned earlier cannot be read; it is learned anew");
            Kept::default()
        });
        Some(Self {
            path: path.to_owned(),
            written: kept.clone(),
            kept,
        })
    }

    /// Returns what was learned of a backend.
    pub fn of(&self, backend: &BackendSettings) -> Option<Snapshot> {
        let lane = self.kept.lanes.get(&backend.name)?;
        (lane.backend == fingerprint(backend)).then(|| lane.learned.clone())
    }

    /// Takes note of what is known of a backend now.
    pub fn note(&mut self, backend: &BackendSettings, mut learned: Snapshot) {
        learned.momentary = None;
        let lane = Lane {
            backend: fingerprint(backend),
            learned,
        };
        let lanes = &mut self.kept.lanes;
        if lanes.contains_key(&backend.name) || lanes.len() < LANES_MAX {
            lanes.insert(backend.name.clone(), lane);
        }
    }

    /// Returns the load times of a server that the gateway starts.
    pub fn load_times(&self, server: &str) -> LoadTimes {
        self.kept.servers.get(server).cloned().unwrap_or_default()
    }

    /// Takes note of the load times of servers.
    pub fn note_servers(&mut self, load_times: BTreeMap<String, LoadTimes>) {
        let servers = &mut self.kept.servers;
        for (name, times) in load_times {
            if servers.contains_key(&name) || servers.len() < LANES_MAX {
                servers.insert(name, times);
            }
        }
    }

    /// Returns what the monitor knew, with the habits of those backends that are still the same.
    pub fn monitor(&self, backends: &[BackendSettings]) -> Memory {
        let mut memory = self.kept.monitor.clone();
        memory.habits.retain(|name, _| {
            let mut backends = backends.iter();
            let backend = backends.find(|backend| *backend.name == **name);
            let lane = self.kept.lanes.get(&**name);
            backend
                .zip(lane)
                .is_some_and(|(backend, lane)| lane.backend == fingerprint(backend))
        });
        memory
    }

    /// Takes note of what the monitor knows now.
    pub fn note_monitor(&mut self, memory: Memory) {
        self.kept.monitor = memory;
    }

    /// Writes the file again if there is something new.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written; the old one is then still there.
    pub fn write(&mut self) -> io::Result<()> {
        if self.kept == self.written {
            return Ok(());
        }
        self.kept.version = VERSION;
        let text = serde_json::to_vec_pretty(&self.kept)?;
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
        let written = write_draft(&draft, &text).and_then(|()| fs::rename(&draft, &self.path));
        if let Err(error) = written {
            // The disk may be full.
            fs::remove_file(&draft).ok();
            return Err(error);
        }
        self.written = self.kept.clone();
        Ok(())
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn write_draft(draft: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(draft)?.write_all(text)
}

/// Takes from others the permission to read the file, which a restored copy may have.
fn narrow(path: &Path, mode: u32) {
    let of_others = mode & 0o077;
    if of_others == 0 {
        return;
    }
    let narrowed = fs::set_permissions(path, fs::Permissions::from_mode(0o600)).is_ok();
    let path = path.display();
    tracing::warn!(%path, narrowed, "others had access to the file of what was learned");
}

/// Reads what the monitor keeps. What another version wrote and this one does not know costs only that part of the file.
fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Memory, D::Error> {
    let kept = serde_json::Value::deserialize(deserializer)?;
    if kept.is_null() {
        return Ok(Memory::default());
    }
    Ok(serde_json::from_value(kept).unwrap_or_else(|error| {
        tracing::warn!(%error, "`monitor` of the file of what was learned cannot be read; alerts and habits begin anew");
        Memory::default()
    }))
}

fn read(path: &Path) -> io::Result<Kept> {
    let wrong = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message.to_owned());
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
        // Opening another kind of file may block, and reading it may never end.
        Ok(found) if !found.is_file() => return Err(wrong("it is not a regular file")),
        Ok(found) => narrow(path, found.permissions().mode()),
    }
    let mut text = Vec::new();
    let read = fs::File::open(path)?
        .take(SIZE_MAX + 1)
        .read_to_end(&mut text)?;
    if read as u64 > SIZE_MAX {
        return Err(wrong("the file is too large"));
    }
    let mut kept: Kept = serde_json::from_slice(&text)?;
    if kept.version != VERSION {
        return Err(wrong("the file is of another version"));
    }
    for (name, lane) in &mut kept.lanes {
        for key in ignore_implausible(&mut lane.learned) {
            let path = path.display();
            tracing::warn!(%path, "`lanes.{name}.learned.{key}` is not plausible; it is ignored");
        }
    }
    kept.servers
        .retain(|_, times| times.are_plausible(LOAD_TIME_MAX));
    Ok(kept)
}

/// Removes the values with which a lane could not serve, and returns their keys.
fn ignore_implausible(learned: &mut Snapshot) -> Vec<&'static str> {
    let mut ignored = Vec::new();
    for (key, value, (least, most)) in [
        ("limit", &mut learned.limit, LIMITS),
        ("request_rate", &mut learned.request_rate, RATES),
        ("rate_ceiling", &mut learned.rate_ceiling, RATES),
    ] {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            *value = None;
            ignored.push(key);
        }
    }
    if !(0.0..=1.0).contains(&learned.fault_rate) {
        learned.fault_rate = 0.0;
        ignored.push("fault_rate");
    }
    if !learned.load_times.are_plausible(LOAD_TIME_MAX) {
        learned.load_times = LoadTimes::default();
        ignored.push("loads");
    }
    ignored
}

/// Returns `true` if what was learned of one backend holds for the other.
pub fn is_same_server(one: &BackendSettings, other: &BackendSettings) -> bool {
    fingerprint(one) == fingerprint(other)
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
        // A restored copy, which is written again only if something new is learned.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Learned::open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hunter"), "{text}");
        let again = Learned::open(&path).unwrap();
        assert_eq!(again.of(&secret), Some(snapshot()));
    }

    #[test]
    fn the_monitor_finds_its_alerts_and_the_habits_of_the_same_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        let mut learned = Learned::open(&path).unwrap();
        let text = r#"{"active": [{"id": 7, "rule": "slower", "severity": "warning", "subject": "a", "since": 5,
            "sentence": "It is slower.", "action": "Look.", "until": null}], "last_alert": 7,
            "habits": {"a": {"latency": {"value": 0.5, "seconds": 900.0, "calls": 1000}, "day": {"32": [900.5, 2]}}}}"#;
        let memory: Memory = serde_json::from_str(text).unwrap();
        learned.note(&backend("http://one"), snapshot());
        learned.note_monitor(memory.clone());
        learned.write().unwrap();
        let again = Learned::open(&path).unwrap();
        assert_eq!(again.monitor(&[backend("http://one")]), memory);
        let moved = again.monitor(&[backend("http://two")]);
        assert_eq!((moved.active, moved.habits.len()), (memory.active, 0));
        // A rule of another version costs the alerts, and not what the lanes have learned.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("slower", "not_yet_known")).unwrap();
        let newer = Learned::open(&path).unwrap();
        assert_eq!(newer.monitor(&[backend("http://one")]), Memory::default());
        assert_eq!(newer.of(&backend("http://one")), Some(snapshot()));
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

    #[test]
    fn values_with_which_a_lane_could_not_serve_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        let text = |learned: &str| {
            let backend = fingerprint(&backend("http://one"));
            format!(
                r#"{{"version":1,"lanes":{{"a":{{"backend":{backend:?},"learned":{learned}}}}}}}"#
            )
        };
        let of = |learned: &str| {
            fs::write(&path, text(learned)).unwrap();
            let learned = Learned::open(&path).unwrap();
            learned.of(&backend("http://one")).unwrap()
        };
        let seconds = |seconds: u64| format!(r#"{{"secs":{seconds},"nanos":0}}"#);
        let many = vec![seconds(1); 100_000].join(",");
        for learned in [
            r#""limit":0.0"#,
            r#""limit":-1.0"#,
            r#""limit":1e308"#,
            r#""request_rate":0.0"#,
            r#""request_rate":-1.0"#,
            r#""request_rate":1e-300"#,
            r#""request_rate":1e308"#,
            r#""rate_ceiling":0.0"#,
            r#""rate_ceiling":-1.0"#,
            r#""rate_ceiling":1e-9"#,
            r#""fault_rate":5.0"#,
            r#""fault_rate":-5.0"#,
            &format!(r#""loads":{{"seen":[{}]}}"#, seconds(u64::MAX)),
        ] {
            assert_eq!(
                of(&format!("{{{learned}}}")),
                Snapshot::default(),
                "{learned}"
            );
            // The other values are used.
            if !learned.contains("limit\"") {
                assert_eq!(of(&format!(r#"{{"limit":12.0,{learned}}}"#)), snapshot());
            }
        }
        let mut lane = of(r#"{"request_rate":0.01,"rate_ceiling":12.0,"fault_rate":0.5}"#);
        assert_eq!(ignore_implausible(&mut lane), [""; 0]);
        lane.rate_ceiling = Some(f64::NAN);
        assert_eq!(ignore_implausible(&mut lane), ["rate_ceiling"]);
        // More load times than are ever kept, in a file of a size that is read.
        let lane = of(&format!(r#"{{"loads":{{"seen":[{many}]}}}}"#));
        assert_eq!(lane, Snapshot::default());
        // Earlier versions took outages for loads.
        let earlier = format!(r#"{{"load_times":{{"seen":[{}]}}}}"#, seconds(2400));
        assert_eq!(of(&earlier), Snapshot::default());
    }

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(Path::new("/dev/zero")).is_err());
        assert!(read(folder.path()).is_err());
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(read(&path).is_err());
        let path = folder.path().join("learned.json");
        let file = fs::File::create(&path).unwrap();
        file.set_len(SIZE_MAX + 1).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }

    #[test]
    fn a_write_that_fails_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        let mut learned = Learned::open(&path).unwrap();
        learned.note(&backend("http://one"), snapshot());
        // A folder in the place of the file cannot be replaced by it.
        fs::create_dir_all(path.join("in the way")).unwrap();
        assert!(learned.write().is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
