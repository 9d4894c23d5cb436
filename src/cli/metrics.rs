//! `kebne metrics`: prints the reference of the metrics.

use std::io::Write;

use crate::{cli::CommandError, metrics};

/// Prints the names, kinds, labels and meanings of all metrics.
///
/// # Errors
/// The output cannot be written.
pub fn run(output: &mut dyn Write) -> Result<(), CommandError> {
    write!(output, "{}", metrics::reference())?;
    Ok(())
}
