//! `kebne completions` and `kebne man`: files for shells and manual pages, written from the command line's own
//! definition.

use std::{io::Write, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, CommandError};

/// Prints the completions for a shell.
///
/// # Errors
/// The output cannot be written.
pub fn completions(shell: Shell, output: &mut dyn Write) -> Result<(), CommandError> {
    // The generator ends the process if it cannot write, so it writes into memory.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kebne", &mut text);
    output.write_all(&text)?;
    Ok(())
}

/// Prints the manual page of the program, or writes those of all commands into a folder.
///
/// # Errors
/// The output or the folder cannot be written.
pub fn man(folder: Option<&Path>, output: &mut dyn Write) -> Result<(), CommandError> {
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(Cli::command(), folder)?;
        }
        None => clap_mangen::Man::new(Cli::command()).render(output)?,
    }
    Ok(())
}
