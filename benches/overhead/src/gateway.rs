//! The gateways that are compared.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{Error, Running, UPSTREAM, pinned, upstream::HELD};

/// The key that callers present.
pub(crate) const KEY: &str = "kebne-overhead";
/// The program that is measured.
const KEBNE: &str = "target/release/kebne";
/// Where Debian installs nginx.
const NGINX: &str = "/usr/sbin/nginx";
/// Attempts to connect to a program that starts, 20 ms apart.
const CONNECTS: usize = 250;

/// A gateway that runs.
pub(crate) struct Gateway {
    pub(crate) name: &'static str,
    /// The ports that lead to those of the upstream.
    pub(crate) ports: [u16; 2],
    /// The port that leads to the upstream that holds its calls.
    pub(crate) held: u16,
    /// The process that serves, which may be a child of the one that was started.
    pid: u32,
    _running: Running,
    _folder: TempDir,
}

impl Gateway {
    /// Starts nginx with one worker for each core; `None` if it is not installed.
    pub(crate) fn nginx(cores: &str) -> Result<Option<Self>, Error> {
        if !Path::new(NGINX).exists() {
            return Ok(None);
        }
        let ports = [19_311, 19_312];
        let folder = TempDir::new()?;
        let path = folder.path().display();
        let workers = cores.split(',').count();
        let held = 19_313;
        let server = |port: u16, upstream: u16| {
            format!(
                "upstream up{port} {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}\n\
                 server {{ listen 127.0.0.1:{port} backlog=1024 reuseport; location / {{ proxy_pass http://up{port}; \
                 proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; }} }}\n"
            )
        };
        let text = format!(
            "daemon off; master_process {}; worker_processes {workers}; pid {path}/pid; error_log {path}/error.log warn;\n\
             events {{ worker_connections 65000; }}\n\
             http {{ access_log off; client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c; \
             uwsgi_temp_path {path}/d; scgi_temp_path {path}/e; keepalive_requests 1000000000; tcp_nodelay on;\n{}{}{} }}\n",
            if workers > 1 { "on" } else { "off" },
            server(ports[0], UPSTREAM[0]),
            server(ports[1], UPSTREAM[1]),
            server(held, HELD)
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, text)?;
        let arguments = ["-p", &path.to_string(), "-c", &file.display().to_string()];
        let running = pinned(cores, NGINX, &arguments)?;
        Self::start("nginx", ports, held, folder, running).map(Some)
    }

    /// Starts Kebne with one HTTP thread for each core.
    pub(crate) fn kebne(cores: &str) -> Result<Self, Error> {
        if !Path::new(KEBNE).exists() {
            let message = format!("`{KEBNE}` is missing: cargo build --release --bin kebne");
            return Err(Error::Failed(message));
        }
        let port = 19_321;
        let folder = TempDir::new()?;
        let workers = cores.split(',').count();
        let hash = hex::encode(Sha256::digest(KEY.as_bytes()));
        let mut text = format!(
            "[server]\nlisten = '127.0.0.1:{port}'\nlearned_path = ''\nworkers = {workers}\nconnections_max = 60000\n\
             [[server.keys]]\nname = 'overhead'\nhash = '{hash}'\n[context]\nstore = 'memory'\n\
             sessions_max = 1000000\nowner_bytes_max = '4GiB'\n"
        );
        for (name, upstream) in ["plain", "paced"].iter().zip(UPSTREAM) {
            // Writing to a text cannot fail.
            write!(
                text,
                "[[backends]]\nname = '{name}'\nkind = 'openai'\nbase_url = 'http://127.0.0.1:{upstream}/v1'\n\
                 [backends.limits]\nlimit_initial = 64\nlimit_max = 512\n"
            )
            .ok();
        }
        // Calls to `one` wait, because it has one slot; calls to `many` do not.
        for (name, limit) in [("one", 1), ("many", 60_000)] {
            write!(
                text,
                "[[backends]]\nname = '{name}'\nkind = 'openai'\nbase_url = 'http://127.0.0.1:{HELD}/v1'\n\
                 [backends.limits]\nlaw = 'fixed'\nlimit_initial = {limit}\nlimit_max = {limit}\nqueue_max = 100000\n\
                 queue_bytes_max = '1GiB'\nattempt_timeout = '10m'\n"
            )
            .ok();
        }
        let file = folder.path().join("kebne.toml");
        fs::write(&file, text)?;
        let arguments = ["serve", "--config", &file.display().to_string()];
        let running = pinned(cores, KEBNE, &arguments)?;
        Self::start("kebne", [port, port], port, folder, running)
    }

    fn start(
        name: &'static str,
        ports: [u16; 2],
        held: u16,
        folder: TempDir,
        running: Running,
    ) -> Result<Self, Error> {
        await_port(ports[1])?;
        Ok(Self {
            name,
            ports,
            held,
            pid: running.0.id(),
            _running: running,
            _folder: folder,
        })
    }

    /// Returns the processor time that the gateway has used, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let tasks = self.processes().into_iter().flat_map(|pid| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"));
            tasks.into_iter().flatten().flatten()
        });
        let nanoseconds = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        nanoseconds.sum::<f64>() / 1e9
    }

    /// Returns the memory in use, in MiB.
    pub(crate) fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// Returns the largest memory that was in use, in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// Returns the memory that is the process's own, without the pages of the program, in MiB.
    pub(crate) fn heap(&self) -> f64 {
        self.status("RssAnon:")
    }

    fn status(&self, name: &str) -> f64 {
        let kib = self.processes().into_iter().filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        });
        kib.sum::<f64>() / 1024.0
    }

    /// Returns the process and its children.
    fn processes(&self) -> Vec<u32> {
        let pid = self.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|child| child.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }
}

/// Waits until a program listens.
pub(crate) fn await_port(port: u16) -> Result<(), Error> {
    for _ in 0..CONNECTS {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(Error::Failed(format!("nothing listens on port {port}")))
}
