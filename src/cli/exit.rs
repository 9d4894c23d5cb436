//! The exit codes of the process. Scripts and service managers rely on them, so they are never renumbered.

/// The codes, as `kebne --help` shows them.
pub const HELP: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 wrong settings";

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Success.
    Success = 0,
    /// A failure that is the fault of neither usage nor settings.
    Failure = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The settings were wrong.
    Settings = 3,
    /// The program that a hidden command was to become cannot be run; shells use the same code.
    NotRun = 127,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
