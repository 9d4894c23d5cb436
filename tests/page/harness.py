"""What the checks of the page share: gateways, a browser, and how checks are collected and run."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CHECKS = []
BROWSER = "/usr/bin/chromium"
# The most that one expectation may take on a busy machine.
PATIENCE_MS = 20_000


def check(sentence):
    """Adds a check; its sentence is what must be true."""

    def add(function):
        CHECKS.append((sentence, function))
        return function

    return add


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Program:
    """One process of the program."""

    def __init__(self, *arguments, settings="", variables=None, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="kebne-page-")
        self.arguments = list(arguments)
        if settings:
            path = pathlib.Path(self.folder, "kebne.toml")
            path.write_text(settings)
            self.arguments += ["--config", str(path)]
        self.variables = {**os.environ, "KEBNE__SERVER__LAME_DUCK": "0s", **(variables or {})}
        self.start()

    def start(self):
        self.log = open(pathlib.Path(self.folder, "log"), "a")
        self.process = subprocess.Popen(
            [os.environ["KEBNE"], *self.arguments], cwd=self.folder, env=self.variables,
            stdout=subprocess.PIPE, stderr=self.log, text=True,
        )
        line = self.process.stdout.readline()
        self.url = re.search(r"http://[\d.:]+", line).group(0)

    def get(self, path, key=None):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return json.load(urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=20))

    def post(self, path):
        request = urllib.request.Request(self.url + path, b"", {"content-type": "application/json"}, method="POST")
        urllib.request.urlopen(request, timeout=20).close()

    def chat(self, model, timeout=20):
        """Makes one call; returns its status."""
        body = json.dumps({"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "a"}]}).encode()
        headers = {"content-type": "application/json", "x-kebne-deadline-ms": "3000"}
        request = urllib.request.Request(self.url + "/v1/chat/completions", body, headers)
        try:
            return urllib.request.urlopen(request, timeout=timeout).status
        except urllib.error.HTTPError as error:
            return error.code

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def stop(self):
        if self.process.poll() is None:
            self.kill()


@contextlib.contextmanager
def gateway(settings="", **variables):
    """Runs a gateway; without settings it has the simulated model, which `variables` change."""
    names = {f"KEBNE__BACKENDS__0__SIMULATION__{name.upper()}": value for name, value in variables.items()}
    program = Program("serve", "--listen", "127.0.0.1:0", settings=settings, variables=names)
    try:
        yield program
    finally:
        program.stop()


@contextlib.contextmanager
def opened(browser, url, **options):
    """Opens the page; fails if it asks for anything of another origin, or reports an error."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    foreign, errors = [], []
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(url) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    # A status that is an error is reported by the browser itself; a refused script or style is reported here too.
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" and "Failed to load resource" not in said.text else None)
    try:
        page.goto(url + "/")
        yield page
        assert not foreign, f"requests to others: {foreign}"
        assert not errors, f"errors: {errors}"
    finally:
        context.close()


def until(condition, what, seconds=PATIENCE_MS / 1000):
    """Waits until a condition holds; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def main(browser):
    """Runs all checks, or those whose names are given, and exits with 1 if one failed."""
    chosen = sys.argv[1:]
    checks = [(sentence, function) for sentence, function in CHECKS if not chosen or function.__name__ in chosen]
    failed = 0
    for sentence, function in checks:
        since = time.monotonic()
        try:
            function(browser)
            print(f"  ok      {sentence} ({time.monotonic() - since:.1f} s)", flush=True)
        except Exception as error:  # each check is reported
            failed += 1
            print(f"  FAILED  {sentence}: {error!r}", flush=True)
    print(f"  {len(checks) - failed} of {len(checks)} checks of the page passed")
    sys.exit(int(failed > 0))
