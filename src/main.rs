//! The `kebne` program: hands the process to the command line and takes its exit code.

use std::{io, process::ExitCode};

use kebne::{cli, settings::ProcessEnvironment};

fn main() -> ExitCode {
    let (mut output, mut complaints) = (io::stdout(), io::stderr());
    let arguments = std::env::args_os();
    cli::run(arguments, &ProcessEnvironment, &mut output, &mut complaints).into()
}
