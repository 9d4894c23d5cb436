//! The `kebne-sim` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kebne_sim::cli::main()
}
