//! The options of commands that call a gateway with TLS.

use std::path::PathBuf;

use clap::Args;

use crate::backend::upstream::ClientOptions;

/// How a gateway with TLS is called.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsArguments {
    /// A file with the certificates of authorities in PEM that are trusted instead of those of the system.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A file with a certificate and its private key in PEM, for a gateway that asks its callers for one.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

impl TlsArguments {
    /// Adds what the arguments name to the options of a client.
    ///
    /// # Errors
    /// Returns an error that names the file that cannot be used.
    pub(crate) fn add_to(&self, options: &mut ClientOptions) -> Result<(), String> {
        if let Some(ca) = &self.ca {
            options.trust_file(ca)?;
        }
        if let Some(identity) = &self.identity {
            options.identify_by(identity, None)?;
        }
        Ok(())
    }
}
