//! Pekko, in a JVM that stays for the whole run, so that it measures compiled code.
//!
//! It is asked for a case by a line with its word, and answers with a number, or `-` if it has nothing comparable.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::cases::Case;

pub(crate) struct Jvm {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Jvm {
    /// Builds the program with Maven and starts it. It warms up before its first answer.
    pub(crate) fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pekko");
        let built = Command::new("mvn")
            .args([
                "--batch-mode",
                "--quiet",
                "compile",
                "dependency:build-classpath",
            ])
            .args(["-Dmdep.outputFile=target/classpath", "--file"])
            .arg(folder.join("pom.xml"))
            .status()
            .unwrap();
        assert!(
            built.success(),
            "Maven failed; --without-jvm leaves Pekko out"
        );
        let jars = std::fs::read_to_string(folder.join("target/classpath")).unwrap();
        let classes = folder.join("target/classes");
        let mut child = Command::new("java")
            .args(["-Xmx1g", "-cp"])
            .arg(format!("{}:{}", classes.display(), jars.trim()))
            .arg("kebne.Costs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asks = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            asks,
            answers,
        }
    }

    pub(crate) fn measure(&mut self, case: Case) -> Option<f64> {
        writeln!(self.asks, "{}", case.word()).unwrap();
        self.asks.flush().unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        match answer.trim() {
            "-" => None,
            number => Some(number.parse().unwrap()),
        }
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
