"""What the checks of `deploy/` share: programs, ports, the gateway, nginx and Caddy with the files of the repository."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
# What the script installs and unpacks.
HOME = pathlib.Path(os.environ["DEPLOY_HOME"])
KEBNE = os.environ["KEBNE"]
# The longest wait for anything, on a busy machine.
WITHIN = 60
KEY = "kebne-test-deploy"
CHAT = "/v1/chat/completions"

CHECKS = []


class Failed(Exception):
    """A check does not hold."""


def check(sentence):
    """Adds a check; its sentence is what must be true."""

    def add(function):
        CHECKS.append((sentence, function))
        return function

    return add


def expect(condition, message):
    if not condition:
        raise Failed(message)


def run(*command, **options):
    """Runs a program that must succeed; returns what it wrote to standard output."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    expect(done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def tool(name):
    """Returns the path of a program: of the script's environment, or of the system."""
    own = HOME / "venv/bin" / name
    found = str(own) if own.exists() else shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    expect(found, f"{name} is not installed")
    return found


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(what, test):
    """Waits until `test` returns something; a connection that is refused counts as nothing."""
    until = time.monotonic() + WITHIN
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            value = test()
            if value:
                return value
        time.sleep(0.05)
    raise Failed(f"{what}: not within {WITHIN} s")


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class Programs:
    """The programs that a check has started; they are stopped at its end."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.running = []

    def start(self, name, *command, **options):
        log = open(self.folder / f"{name}.log", "a")
        command = [str(part) for part in command]
        process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **options)
        self.running.append(process)
        return process

    def gateway(self, name, port, backend, **server):
        """Starts a gateway with a key in front of one backend; returns when it is ready."""
        config = self.folder / f"{name}.toml"
        if not config.exists():
            config.write_text("\n".join([
                "[server]", f'listen = "127.0.0.1:{port}"', 'learned_path = ""', 'decisions_path = ""',
                *(f'{key} = "{value}"' for key, value in server.items()),
                "[[server.keys]]", 'name = "test"', 'scopes = ["call", "read_state"]', f'hash = "{hashlib.sha256(KEY.encode()).hexdigest()}"',
                "[context]", 'store = "memory"',
                "[[backends]]", 'name = "server"', 'kind = "openai"', f'base_url = "http://127.0.0.1:{backend}/v1"',
                "[[models]]", 'name = "test"', 'backends = ["server"]',
            ]))
        process = self.start(name, KEBNE, "serve", "--config", config)
        wait_for(f"{name} is ready", lambda: status(f"http://127.0.0.1:{port}/readyz") == 200)
        return process

    def nginx(self, ports):
        """Starts nginx with deploy/proxy/nginx.conf; returns the port with TLS, the one without, and the certificate."""
        tls, plain = free_port(), free_port()
        certificate = self.certificate()
        site = (DEPLOY / "proxy/nginx.conf").read_text()
        for old, new in [
            ("listen 443 ssl http2;", f"listen 127.0.0.1:{tls} ssl http2;"),
            ("listen [::]:443 ssl http2;", f"listen 127.0.0.1:{plain};"),
            ("/etc/ssl/kebne/fullchain.pem", str(certificate)),
            ("/etc/ssl/kebne/privkey.pem", str(certificate.with_suffix(".key"))),
            ("127.0.0.1:8080", f"127.0.0.1:{ports[0]}"),
            ("127.0.0.1:8081", f"127.0.0.1:{ports[1]}"),
        ]:
            expect(site.count(old) == 1, f"deploy/proxy/nginx.conf does not have `{old}` once")
            site = site.replace(old, new)
        (self.folder / "site.conf").write_text(site)
        # Debian's nginx.conf without its paths.
        paths = "".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = self.folder / "nginx.conf"
        # As root, nginx would give its work to a user who cannot write into this folder.
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(
            f"{user} daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx-error.log;"
            f"events {{ worker_connections 768; }}"
            f"http {{ access_log {self.folder}/nginx-access.log; {paths} include {self.folder}/site.conf; }}"
        )
        run(tool("nginx"), "-t", "-q", "-c", config, "-p", self.folder, "-e", self.folder / "nginx-start.log")
        self.start("nginx", tool("nginx"), "-c", config, "-p", self.folder, "-e", self.folder / "nginx-start.log")
        wait_for("nginx answers", lambda: status(f"http://127.0.0.1:{plain}/") == 404)
        return tls, plain, certificate

    def caddy(self, ports):
        """Starts Caddy with deploy/proxy/Caddyfile, without TLS; returns its port."""
        port = free_port()
        site = (DEPLOY / "proxy/Caddyfile").read_text()
        name, addresses = "\nkebne.example.com {", "127.0.0.1:8080 127.0.0.1:8081"
        for old, new in [
            (name, f"\n{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{port} {{"),
            (addresses, " ".join(f"127.0.0.1:{each}" for each in ports)),
        ]:
            expect(site.count(old) == 1, f"deploy/proxy/Caddyfile does not have `{old}` once")
            site = site.replace(old, new)
        config = self.folder / "Caddyfile"
        config.write_text(site)
        variables = {**os.environ, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        self.start("caddy", tool("caddy"), "run", "--adapter", "caddyfile", "--config", config, env=variables)
        wait_for("Caddy answers", lambda: status(f"http://127.0.0.1:{port}/") == 404)
        return port

    def certificate(self):
        path = self.folder / "tls.pem"
        run(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path.with_suffix(".key"), "-out", path,
        )
        return path

    def stop(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM if process.poll() is None else 0)
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self):
        """Returns the last lines of what the programs wrote."""
        lines = []
        for log in sorted(self.folder.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-8:]
            lines += [f"{log.name}: {line}" for line in tail]
        return "\n".join(lines)


def connect(port, certificate=None):
    """Returns a connection to a proxy, with TLS if a certificate is given."""
    if certificate is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    context = ssl.create_default_context(cafile=str(certificate))
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=WITHIN, context=context)
