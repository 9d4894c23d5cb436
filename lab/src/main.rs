//! The `kebne-lab` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kebne_lab::sim::cli::main()
}
