"""Starts the gateway in front of real MCP servers, and runs the official conformance suite and the official clients against it.

usage: run.py KEBNE_PROGRAM NODE_PROGRAM NODE_MODULES [NAME…]

With names (conformance, python, typescript, inspector), only these are run.
"""

import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
KEBNE, NODE, MODULES = (str(pathlib.Path(path).absolute()) for path in sys.argv[1:4])
WANTED = sys.argv[4:] or ["conformance", "python", "typescript", "inspector"]
KEY, OTHER_KEY = "key-of-the-tests", "key-of-another"
# Longer than any machine needs.
AMPLE = 120


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def start(folder, template, **values):
    """Starts the gateway with a template of its settings; returns the process and its address."""
    text = (HERE / template).read_text()
    values |= {"PYTHON": sys.executable, "NODE": NODE, "MODULES": MODULES, "HERE": str(HERE), "FOLDER": str(folder)}
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    (folder / "kebne.toml").write_text(text)
    command = [KEBNE, "serve", "--config", "kebne.toml", "--listen", "127.0.0.1:0"]
    gateway = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = gateway.stdout.readline().strip()
    assert said.startswith("kebne on "), said
    return gateway, said.removeprefix("kebne on ").removesuffix("/v1")


def until_up(address, count):
    due = time.monotonic() + AMPLE
    while True:
        request = urllib.request.Request(f"{address}/state", headers={"authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            servers = json.load(answer)["mcp"]
        if sum(server["state"] == "up" for server in servers) == count:
            return
        assert time.monotonic() < due, servers
        time.sleep(0.1)


def run(name, command, **environment):
    """Runs a command. Returns `True` if it succeeds."""
    environment = os.environ | {"PATH": f"{pathlib.Path(NODE).parent}:{os.environ['PATH']}"} | environment
    done = subprocess.run(command, env=environment, timeout=600, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(f"{name} FAILED ({done.returncode}):\n{done.stdout}")
    else:
        print("\n".join(done.stdout.rstrip().splitlines()[-8:]))
    return done.returncode == 0


def conformance():
    with tempfile.TemporaryDirectory() as folder:
        gateway, address = start(pathlib.Path(folder), "conformance.toml.in")
        try:
            until_up(address, 1)
            suite = f"{MODULES}/@modelcontextprotocol/conformance/dist/index.js"
            newer = f"{MODULES}/../../conformance-2026/node_modules/@modelcontextprotocol/conformance/dist/index.js"
            passed = []
            for name, program, scenarios in [
                ("2025-11-25", suite, ["--suite", "all"]),
                ("2026-07-28", newer, ["--requirements", "2026-07-28"]),
            ]:
                expected = str(HERE / f"expected-failures-{name}.yml")
                command = [NODE, program, "server", "--url", f"{address}/mcp", "-o", f"{folder}/{name}", *scenarios]
                passed.append(run(f"conformance {name}", command + ["--expected-failures", expected]))
            return all(passed)
        finally:
            gateway.kill()
            gateway.wait()


def clients(wanted):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder).resolve()
        (folder / "a.txt").write_text("hello from a file")
        port = free_port()
        everything = f"{MODULES}/@modelcontextprotocol/server-everything/dist/index.js"
        upstream = subprocess.Popen(
            [NODE, everything, "streamableHttp"],
            env=os.environ | {"PORT": str(port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        digest = [hashlib.sha256(key.encode()).hexdigest() for key in (KEY, OTHER_KEY)]
        gateway, address = start(folder, "gateway.toml.in", HASH=digest[0], OTHER_HASH=digest[1], EVERYTHING_PORT=port)
        try:
            until_up(address, 3)
            url = f"{address}/mcp"
            inspector = f"{MODULES}/.bin/mcp-inspector"
            header = f"authorization: Bearer {KEY}"
            # Node finds packages beside the file.
            script = pathlib.Path(MODULES).parent / "checks.mjs"
            script.write_text((HERE / "checks.mjs").read_text())
            commands = {
                "python": [sys.executable, str(HERE / "checks.py"), url, KEY, OTHER_KEY, str(folder)],
                "typescript": [NODE, str(script), url, KEY, str(folder)],
                "inspector": [inspector, "--cli", url, "--transport", "http", "--method", "tools/list", "--header", header],
            }
            passed = [run(name, command) for name, command in commands.items() if name in wanted]
            return all(passed)
        finally:
            for process in (gateway, upstream):
                process.kill()
                process.wait()


def main():
    passed = [conformance()] if "conformance" in WANTED else []
    wanted = [name for name in WANTED if name != "conformance"]
    if wanted:
        passed.append(clients(wanted))
    sys.exit(0 if all(passed) else 1)


main()
