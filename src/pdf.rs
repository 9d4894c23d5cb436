//! PDF files: their texts, read by a child process of this program.
//!
//! A PDF file can be made so that reading it takes any time and memory, or ends the process. So a child reads it: with bounds of its own on
//! memory and time, without the environment, and with nothing open but its three standard streams. It is killed as soon as its
//! text is not awaited any more.

mod text;

use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use kebne_collections::{PdfError, PdfReader};
use rustix::process::{Resource, Rlimit, setrlimit};

/// The hidden command of this program that reads a PDF file.
pub(crate) const READ_PDF: &str = "read-pdf";
/// The address space of the child. It holds the file, its objects and a page; a usual file takes some MiB.
const MEMORY_MAX: u64 = 768 << 20;
/// The processor time of the child in seconds, if its parent ends before it: more than any file is read for.
const SECONDS_MAX: u64 = 300;
/// The greatest file that the child reads; settings allow 64 MiB.
const FILE_MAX: u64 = 64 << 20;
/// The most bytes of text of a file. It bounds what is cut into chunks.
const TEXT_MAX: u64 = 32 << 20;
/// The most bytes of a complaint that are kept.
const COMPLAINT_MAX: u64 = 500;
/// The time between two looks at the child.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Reads PDF files by child processes.
pub(crate) struct ChildReader {
    program: PathBuf,
    command: OsString,
}

impl ChildReader {
    /// Creates a reader whose children are this program.
    ///
    /// # Errors
    /// Fails if the system does not tell where this program is.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            command: READ_PDF.into(),
        })
    }
}

impl PdfReader for ChildReader {
    fn pages(&self, content: &[u8], goes_on: &dyn Fn() -> bool) -> Result<Vec<String>, PdfError> {
        let unavailable =
            |error: io::Error| PdfError::Unavailable(format!("no process for a PDF file: {error}"));
        let child = Command::new(&self.program)
            .arg(&self.command)
            .env_clear()
            // Without it the allocator reserves most of the address space that the child may have.
            .env("MIMALLOC_ARENA_RESERVE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(unavailable)?;
        let mut child = Reaped(child);
        let (Some(mut input), Some(output), Some(complaints)) = (
            child.0.stdin.take(),
            child.0.stdout.take(),
            child.0.stderr.take(),
        ) else {
            return Err(unavailable(io::ErrorKind::BrokenPipe.into()));
        };
        thread::scope(|threads| {
            threads.spawn(move || {
                // A child that has ended reads no more; its status tells why.
                let _may_be_closed = input.write_all(content);
            });
            let output = threads.spawn(move || pages_of(output));
            let complaint = threads.spawn(move || {
                let mut text = String::new();
                let _cut_where_it_is_not_text =
                    complaints.take(COMPLAINT_MAX).read_to_string(&mut text);
                text
            });
            let status = child.wait(goes_on);
            let pages = output.join().unwrap_or_default();
            let complaint = complaint.join().unwrap_or_default();
            match status.map_err(unavailable)? {
                None => Err(PdfError::Abandoned),
                Some(status) => told(status, pages, &complaint),
            }
        })
    }
}

/// A child that is killed when it is dropped.
struct Reaped(Child);

impl Reaped {
    /// Waits for its end; kills it and returns `None` when `goes_on` returns `false`.
    fn wait(&mut self, goes_on: &dyn Fn() -> bool) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if !goes_on() {
                self.0.kill()?;
                self.0.wait()?;
                return Ok(None);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // It has usually ended.
        let _may_have_ended = self.0.kill();
        let _may_be_reaped = self.0.wait();
    }
}

/// Returns the pages that the child writes, each as a line of JSON; `None` if their text is too long.
fn pages_of(output: impl io::Read) -> Option<Vec<String>> {
    let mut pages = Vec::new();
    let mut lines = BufReader::new(output.take(2 * TEXT_MAX));
    let mut line = String::new();
    loop {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => return Some(pages),
            Ok(_) => pages.push(serde_json::from_str(&line).ok()?),
            Err(_) => return None,
        }
    }
}

fn told(
    status: ExitStatus,
    pages: Option<Vec<String>>,
    complaint: &str,
) -> Result<Vec<String>, PdfError> {
    let complaint = complaint.trim().trim_start_matches("error: ");
    match (status.success(), pages) {
        (true, Some(pages)) => Ok(pages),
        (false, _) if status.code() == Some(1) && !complaint.is_empty() => {
            Err(PdfError::Unreadable(complaint.to_owned()))
        }
        _ => {
            let why =
                "the PDF file cannot be read within the memory and the text that a file may have";
            Err(PdfError::Unreadable(why.to_owned()))
        }
    }
}

/// Reads a PDF file from the standard input and writes its pages, each as a line of JSON: the part of the child.
///
/// # Errors
/// Fails if the file cannot be read.
pub(crate) fn read(output: &mut dyn Write) -> Result<(), io::Error> {
    let limit = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)
    };
    limit(Resource::As, MEMORY_MAX)?;
    limit(Resource::Cpu, SECONDS_MAX)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    let mut content = Vec::new();
    io::stdin().take(FILE_MAX).read_to_end(&mut content)?;
    let mut left = TEXT_MAX;
    text::each_page(&content, |page| {
        let size = u64::try_from(page.len()).unwrap_or(u64::MAX);
        left = left
            .checked_sub(size)
            .ok_or_else(|| io::Error::other("the PDF file has more text than a file may have"))?;
        serde_json::to_writer(&mut *output, page)?;
        output.write_all(b"\n")
    })?;
    output.flush()
}
