"""Starts the gateway and a scripted upstream, and runs the checks of both client libraries against them.

usage: run.py KEBNE_PROGRAM NODE_PROGRAM NODE_MODULES
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).parent
KEY = "key-of-the-tests"
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Kiruna"}'}}


class Upstream(BaseHTTPRequestHandler):
    """Answers each chat with a call of a tool, and with what it was asked in a field that nobody knows."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked.get("stream"):
            return self.stream()
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        answer = {"id": "up", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        body = json.dumps(answer | {"asked": asked}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        head = CALL | {"index": 0, "function": {"name": "weather", "arguments": ""}}
        pieces = [{"role": "assistant", "tool_calls": [head]}]
        for part in ('{"city": ', '"Kiruna"}'):
            pieces.append({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        for piece in pieces + [None]:
            choice = {"index": 0, "delta": piece or {}, "finish_reason": None if piece else "tool_calls"}
            chunk = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, *_):
        pass


def start(kebne, folder):
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    config = (HERE / "gateway.toml.in").read_text()
    config = config.replace("@HASH@", hashlib.sha256(KEY.encode()).hexdigest())
    config = config.replace("@UPSTREAM@", f"http://127.0.0.1:{upstream.server_port}/v1")
    path = pathlib.Path(folder) / "gateway.toml"
    path.write_text(config)
    command = [kebne, "serve", "--config", str(path), "--listen", "127.0.0.1:0"]
    gateway = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = gateway.stdout.readline()
    return gateway, re.fullmatch(r"kebne on (http://\S+)\n", said).group(1)


def main():
    kebne, node, modules = sys.argv[1:]
    failed = []
    for name, command in [("Python", [sys.executable, HERE / "checks.py"]), ("Node", [node, HERE / "checks.mjs"])]:
        with tempfile.TemporaryDirectory() as folder:
            # Each library gets a gateway of its own: a cold model is cold once.
            gateway, url = start(kebne, folder)
            try:
                environment = os.environ | {"KEBNE_URL": url, "KEBNE_KEY": KEY, "OPENAI_MODULE": f"{modules}/openai/index.mjs"}
                print(f"{name}:", flush=True)
                if subprocess.run(command, env=environment, timeout=300).returncode != 0:
                    failed.append(name)
            finally:
                gateway.terminate()
                gateway.wait(30)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


main()
