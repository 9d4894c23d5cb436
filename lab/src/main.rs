//! The `kebne-lab` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// The allocator of `kebne`, so that memory is measured as it is there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    kebne_lab::sim::cli::main()
}
