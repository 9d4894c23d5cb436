//! Leases in a folder that all gateways of one machine can write: a file for each lane, and a lock.
//!
//! A renewal locks the lane, reads its file, takes one step, and replaces the file. The system releases the lock of a process that
//! dies. A process that is stopped inside a step would hold it, so others wait for a short time only and go on with what they have.
//! The files hold numbers, and no text of callers.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kebne_control::{Renewal, SharedLane, Timestamp};

use crate::{
    clock::machine_time,
    lease::{CapacityLease, LaneKey, Later, LeaseError, Renewed},
};

/// The longest wait for the lock of another process. A step takes less than a millisecond.
const LOCK_WAIT: Duration = Duration::from_millis(200);
/// The time between two attempts to get the lock.
const LOCK_RETRY: Duration = Duration::from_millis(2);
/// The largest file that is read: far above what the largest number of gateways writes.
const SIZE_MAX: u64 = 1 << 20;

/// Leases of the gateways of one machine.
#[derive(Clone, Debug)]
pub struct FileLeases {
    folder: PathBuf,
    ttl: Duration,
}

impl FileLeases {
    /// Opens the folder, and creates it if it is not there. Leases live for `ttl`, which must be the same in all gateways.
    ///
    /// # Errors
    /// Returns an error if the folder can be neither opened nor created.
    pub fn open(folder: &Path, ttl: Duration) -> Result<Self, LeaseError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|error| unavailable(folder, &error))?;
        Ok(Self {
            folder: folder.to_owned(),
            ttl,
        })
    }

    fn step<T>(
        &self,
        lane: &LaneKey,
        step: impl FnOnce(&mut SharedLane, Timestamp) -> T,
    ) -> Result<T, LeaseError> {
        let path = self.folder.join(format!("{lane}.lease"));
        // A file of its own, because the other one is replaced.
        let _lock = lock(&self.folder.join(format!("{lane}.lock")))?;
        let mut state = read(&path)?;
        let result = step(&mut state, machine_time());
        write(&path, &state)?;
        Ok(result)
    }
}

fn unavailable(path: &Path, error: &io::Error) -> LeaseError {
    LeaseError::Unavailable(format!("`{}`: {error}", path.display()))
}

/// Takes the lock, which is released when the file is dropped.
fn lock(path: &Path) -> Result<File, LeaseError> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path);
    let file = file.map_err(|error| unavailable(path, &error))?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(unavailable(path, &error)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                return Err(LeaseError::Slow(format!("`{path}` is locked")));
            }
        }
    }
}

/// Reads the state of a lane. A file that is not one is replaced by an empty state, which settles for one time to live.
fn read(path: &Path) -> Result<SharedLane, LeaseError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SharedLane::default()),
        Err(error) => return Err(unavailable(path, &error)),
    };
    let mut text = Vec::new();
    file.take(SIZE_MAX)
        .read_to_end(&mut text)
        .map_err(|error| unavailable(path, &error))?;
    Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
        let path = path.display();
        tracing::warn!(%path, %error, "a file of leases cannot be read; it begins anew");
        SharedLane::default()
    }))
}

/// Replaces the file as a whole, so that a process that dies half way leaves the old state.
fn write(path: &Path, state: &SharedLane) -> Result<(), LeaseError> {
    let text = serde_json::to_vec(state).map_err(|error| LeaseError::Damaged(error.to_string()))?;
    let draft = path.with_extension("draft");
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&draft)?.write_all(&text)?;
        fs::rename(&draft, path)
    };
    written().map_err(|error| unavailable(path, &error))
}

/// Runs what blocks on a thread for it.
async fn off_loop<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, LeaseError> + Send + 'static,
) -> Result<T, LeaseError> {
    let done = tokio::task::spawn_blocking(step).await;
    done.unwrap_or_else(|error| Err(LeaseError::Unavailable(error.to_string())))
}

impl CapacityLease for FileLeases {
    fn renew<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
        renewal: &'a Renewal,
    ) -> Later<'a, Result<Renewed, LeaseError>> {
        let (leases, lane) = (self.clone(), lane.clone());
        let (member, renewal) = (member.to_owned(), renewal.clone());
        Box::pin(off_loop(move || {
            leases.step(&lane, |lane, now| Renewed {
                lease: lane.renew(&member, &renewal, leases.ttl, now),
                learned: lane.learned().clone(),
            })
        }))
    }

    fn leave<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
    ) -> Later<'a, Result<(), LeaseError>> {
        let (leases, lane, member) = (self.clone(), lane.clone(), member.to_owned());
        Box::pin(off_loop(move || {
            leases.step(&lane, |lane, _| lane.leave(&member))
        }))
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::contract;

    fn wants() -> Renewal {
        Renewal {
            queued: 5,
            holds: 3,
            level: 10.0,
            serves: true,
            ..Renewal::default()
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let open = || FileLeases::open(folder.path(), contract::TTL).unwrap();
        let (one, other) = (open(), open());
        contract::check(&[&one, &other], "file").await.unwrap();
    }

    #[tokio::test]
    async fn only_the_owner_can_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let deeper = folder.path().join("deeper");
        let leases = FileLeases::open(&deeper, contract::TTL).unwrap();
        let lane = LaneKey::new("a");
        leases.renew(&lane, "one", &wants()).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&deeper), 0o700);
        assert_eq!(mode(&deeper.join("a.lease")), 0o600);
        assert_eq!(fs::read_dir(&deeper).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_lock_that_is_held_costs_a_short_wait_and_not_the_lease_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let leases = FileLeases::open(folder.path(), contract::TTL).unwrap();
        let (a, b) = (LaneKey::new("a"), LaneKey::new("b"));
        let held = lock(&folder.path().join("a.lock")).unwrap();
        let refused = leases.renew(&a, "one", &wants()).await;
        assert!(matches!(refused, Err(LeaseError::Slow(_))), "{refused:?}");
        leases.renew(&b, "one", &wants()).await.unwrap();
        drop(held);
        leases.renew(&a, "one", &wants()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_something_else_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let leases = FileLeases::open(folder.path(), contract::TTL).unwrap();
        let lane = LaneKey::new("a");
        for text in ["", "{", "[1]", "{\"members\": 7}"] {
            fs::write(folder.path().join("a.lease"), text).unwrap();
            let renewed = leases.renew(&lane, "one", &wants()).await.unwrap();
            assert_eq!(renewed.lease.share, 3, "it holds what it held: {text}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = FileLeases::open(&file.join("deeper"), contract::TTL).unwrap_err();
        assert!(error.to_string().contains("deeper"), "{error}");
    }
}
