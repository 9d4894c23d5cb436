//! The `kebne` program: hands the process to the command line and takes its exit code.

use std::{io, process::ExitCode};

use mimalloc::MiMalloc;

use kebne::{cli, logging::Stderr, settings::ProcessEnvironment};

/// Returns memory to the system soon after it is freed; the system's own allocator keeps what large bodies took.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let (mut output, mut complaints) = (io::stdout(), Stderr);
    let arguments = std::env::args_os();
    cli::run(arguments, &ProcessEnvironment, &mut output, &mut complaints).into()
}
