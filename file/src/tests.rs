//! Files as stores use them.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const KIND: Kind = Kind {
    name: "things",
    application: 0x4b65_6254,
    format: 2,
    key_check: "kebne things",
    busy: Duration::from_millis(100),
};

fn keyring(digits: &[&str]) -> Keyring {
    let key = Keyring::from_hex(&digits[0].repeat(64)).unwrap();
    let old: Vec<String> = digits[1..].iter().map(|digit| digit.repeat(64)).collect();
    key.with_old(&old.join(" ")).unwrap()
}

fn open(file: &PrivateFile, master: Option<&Keyring>) -> Result<(Connection, bool), FileError> {
    let mut is_old = false;
    let connection = file.open(|connection, found| match found {
        Found::Nothing => file.create(connection, &[OWNERS], master),
        Found::Present => {
            is_old = file.has_old_key(connection, master)?;
            Ok(())
        }
        Found::Other(_) => Err(file.is_not_ours()),
    })?;
    Ok((connection, is_old))
}

#[test]
fn a_file_is_private_and_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = PrivateFile::new(folder.path().join("data/things.sqlite"), KIND, 0);
    assert!(!file.exists());
    let (connection, _) = open(&file, None).unwrap();
    let mode = |connection: &Connection| -> String {
        let read = connection.pragma_query_value(None, "journal_mode", |row| row.get(0));
        read.unwrap()
    };
    assert_eq!(mode(&connection), "wal");
    assert_eq!(file.recognize(&connection), Ok(Found::Present));
    for (path, mode) in [("data", 0o700), ("data/things.sqlite", 0o600)] {
        let metadata = fs::metadata(folder.path().join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
    connection.pragma_update(None, "user_version", 1).unwrap();
    assert_eq!(file.recognize(&connection), Ok(Found::Other(1)));
    let others = folder.path().join("others.sqlite");
    let connection = Connection::open(&others).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let refused = open(&PrivateFile::new(others, KIND, 0), None).map(drop);
    assert!(matches!(refused, Err(FileError::Damaged(_))), "{refused:?}");
    assert_eq!(mode(&connection), "delete", "it is left as it is");
}

#[test]
fn a_file_that_is_gone_or_replaced_is_not_used_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("things.sqlite");
    let file = PrivateFile::new(path.clone(), KIND, 0);
    drop(open(&file, None).unwrap());
    assert_eq!(file.check(), Ok(()));
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    assert!(matches!(open(&file, None), Err(FileError::Failed(_))));
    assert!(!path.exists(), "no empty file takes its place");
    fs::write(&path, "").unwrap();
    assert!(matches!(file.open_again(), Err(FileError::Failed(_))));
    fs::rename(&aside, &path).unwrap();
    assert!(file.open_again().is_ok());
}

#[test]
fn another_key_is_refused_and_an_old_one_leads_to_new_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = || PrivateFile::new(folder.path().join("things.sqlite"), KIND, 0);
    let mut old = Owners::new(Some(keyring(&["a"])));
    let (connection, _) = open(&file(), old.master()).unwrap();
    assert_eq!(Owners::find(&connection, "ann"), Ok(None));
    let ann = old.find_or_create(&connection, "ann").unwrap();
    assert_eq!(old.find_or_create(&connection, "ann"), Ok(ann));
    let key = old.key(&connection, ann).unwrap().unwrap();
    let sealed = key.seal(b"hello", "x").unwrap();
    drop(connection);
    for wrong in [None, Some(keyring(&["b"]))] {
        let refused = open(&file(), wrong.as_ref()).map(drop);
        assert!(matches!(refused, Err(FileError::Damaged(_))), "{refused:?}");
    }
    let master = keyring(&["b", "a"]);
    let file = file();
    let (connection, is_old) = open(&file, Some(&master)).unwrap();
    assert!(is_old);
    let owners = Owners::new(Some(master.clone()));
    let rotated = file.rotate(&connection, &master, |connection| {
        owners.wrap_again(connection)
    });
    assert_eq!(rotated, Ok(()));
    let new = keyring(&["b"]);
    assert_eq!(file.has_old_key(&connection, Some(&new)), Ok(false));
    let mut owners = Owners::new(Some(new));
    let key = owners.key(&connection, ann).unwrap().unwrap();
    assert_eq!(key.open(&sealed, "x"), Some((b"hello".to_vec(), 0)));
}

#[test]
fn a_file_without_a_key_has_owners_without_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = PrivateFile::new(folder.path().join("things.sqlite"), KIND, 0);
    let (connection, _) = open(&file, None).unwrap();
    let mut owners = Owners::new(None);
    let ann = owners.find_or_create(&connection, "ann").unwrap();
    assert!(owners.key(&connection, ann).unwrap().is_none());
    assert_eq!(owners.wrap_again(&connection), Ok(()));
}
