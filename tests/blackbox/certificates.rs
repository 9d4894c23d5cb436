//! An authority of the test's own, and certificates for this machine.

use std::{fs, path::Path, time::SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        Self(issuer.unwrap())
    }

    /// Returns its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for this machine that is valid for so many days.
    pub(crate) fn sign(&self, days: u64) -> Pair {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        let end = SystemTime::now() + std::time::Duration::from_hours(24 * days);
        params.not_after = end.into();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// Writes `cert.pem` and `key.pem`, each in one step.
    pub(crate) fn write(&self, folder: &Path) {
        for (name, text) in [("cert.pem", &self.cert), ("key.pem", &self.key)] {
            let new = folder.join("new.pem");
            fs::write(&new, text).unwrap();
            fs::rename(&new, folder.join(name)).unwrap();
        }
    }
}
