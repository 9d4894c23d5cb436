"""Starts the gateway and llama.cpp's server, and runs the checks against them.

usage: run.py KEBNE_PROGRAM MODEL
"""

import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main():
    kebne, model = sys.argv[1:]
    port = free_port()
    llama = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "gateway.toml"
        config.write_text((HERE / "gateway.toml.in").read_text().replace("@LLAMA@", llama))
        command = [kebne, "serve", "--config", str(config), "--listen", "127.0.0.1:0"]
        gateway = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        # The gateway comes first: the first check meets a server that does not listen yet.
        url = re.fullmatch(r"kebne on (http://\S+)\n", gateway.stdout.readline()).group(1)
        serve = [sys.executable, HERE / "serve.py", model, str(port), HERE / "chatml-tools.jinja"]
        server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            environment = os.environ | {"KEBNE_URL": url, "KEBNE_KEY": "none", "LLAMA_URL": llama,
                                        "PYTHONPATH": str(HERE.parent / "clients")}
            sys.exit(subprocess.run([sys.executable, HERE / "checks.py"], env=environment, timeout=600).returncode)
        finally:
            for process in (gateway, server):
                process.terminate()
            for process in (gateway, server):
                process.wait(30)


main()
