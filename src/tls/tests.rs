//! Certificates that are made here.

use std::{fs, path::Path};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// Writes a certificate that is valid to the end of a day, and its key.
fn write(folder: &Path, year: i32) -> TlsSettings {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 5, 4);
    let key = KeyPair::generate().unwrap();
    let settings = TlsSettings {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        ..TlsSettings::default()
    };
    fs::write(&settings.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&settings.key, key.serialize_pem()).unwrap();
    settings
}

#[test]
fn the_end_of_a_certificate_is_read_also_if_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    for (year, seconds) in [
        (2021, 1_620_086_400),
        (2044, 2_345_932_800),
        (2200, 7_268_745_600),
    ] {
        let settings = write(folder.path(), year);
        let certificates = Certificates::load(&settings).unwrap().unwrap();
        assert_eq!(certificates.expires_at(), seconds, "{year}");
    }
}

#[test]
fn changed_files_are_read_and_unusable_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = write(folder.path(), 2044);
    let certificates = Certificates::load(&settings).unwrap().unwrap();
    let first = certificates.current();
    certificates.reload_if_changed();
    assert!(
        Arc::ptr_eq(&first, &certificates.current()),
        "nothing has changed"
    );
    fs::write(&settings.key, "no key").unwrap();
    certificates.reload_if_changed();
    assert!(Arc::ptr_eq(&first, &certificates.current()));
    assert_eq!(certificates.reload().unwrap_err().key, "key");
    write(folder.path(), 2045);
    certificates.reload_if_changed();
    assert!(!Arc::ptr_eq(&first, &certificates.current()));
    assert_eq!(certificates.expires_at(), 2_377_468_800);
    assert!(
        Certificates::load(&TlsSettings::default())
            .unwrap()
            .is_none()
    );
}
