"""Starts the gateway and scripted upstreams, and runs the checks of each client library against them.

usage: run.py KEBNE_PROGRAM NODE_PROGRAM NODE_MODULES [NAME…]

With names, only these libraries are checked.
"""

import concurrent.futures
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

import native_responses

HERE = pathlib.Path(__file__).parent
# The number of libraries that are checked at once.
AT_ONCE = 4
# The settings of the gateway, where they are not those of gateway.toml.in.
TEMPLATES = {"openai-cache": "cache.toml.in"}
KEY = "key-of-the-tests"
READER = "key-that-only-reads-the-state"
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Kiruna"}'}}
PARTS = ('{"city": ', '"Kiruna"}')
THINKING = {"type": "thinking", "thinking": "hm", "signature": "signed"}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-upstream", "stop_sequence": None}


class Scripted(BaseHTTPRequestHandler):
    """Reads each request and answers with JSON, or with events where a stream is asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked.get("stream"):
            return self.stream(self.events(asked))
        body = json.dumps(self.answer(asked)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(f"{event}\n\n".encode())
        self.close_connection = True

    def log_message(self, *_):
        pass


class Chat(Scripted):
    """Answers each chat with a call of a tool, and with what it was asked in a field that nobody knows."""

    def answer(self, asked):
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return {"id": "up", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "asked": asked}

    def events(self, asked):
        head = CALL | {"index": 0, "function": {"name": "weather", "arguments": ""}}
        pieces = [{"role": "assistant", "tool_calls": [head]}]
        for part in PARTS:
            pieces.append({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        for piece in pieces + [None]:
            choice = {"index": 0, "delta": piece or {}, "finish_reason": None if piece else "tool_calls"}
            chunk = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            yield f"data: {json.dumps(chunk)}"
        if asked.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            chunk = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
            yield f"data: {json.dumps(chunk)}"
        yield "data: [DONE]"


class Clever(Chat):
    """Calls the first tool that it is offered, answers its result in words, and a schema with JSON."""

    @staticmethod
    def calls(asked):
        return asked.get("tools") and asked["messages"][-1]["role"] != "tool"

    @staticmethod
    def pieces(asked):
        return PARTS if "response_format" in asked else ("Hello, ", "good ", "day")

    def answer(self, asked):
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        answer = super().answer(asked) | {"usage": usage}
        if self.calls(asked):
            call = CALL | {"function": CALL["function"] | {"name": asked["tools"][0]["function"]["name"]}}
            message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}
            answer["choices"] = [choice]
        else:
            message = {"role": "assistant", "content": "".join(self.pieces(asked)), "refusal": None}
            answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
        return answer

    def events(self, asked):
        if self.calls(asked):
            name = asked["tools"][0]["function"]["name"]
            yield from (event.replace('"weather"', json.dumps(name)) for event in super().events(asked))
            return
        for piece in (*self.pieces(asked), None):
            # No role, as some servers do it: the helpers of the Node library require it in the first chunk.
            choice = {"index": 0, "delta": {"content": piece} if piece else {}, "finish_reason": None if piece else "stop"}
            chunk = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            yield f"data: {json.dumps(chunk)}"
        yield from list(super().events(asked))[len(PARTS) + 2:]


class Citing(Chat):
    """Cites the first excerpt that it was sent, and tells what it was asked in a field that nobody knows."""

    PIECES = ("It is 70 kilometres long [", "1", "], I think.")

    def answer(self, asked):
        message = {"role": "assistant", "content": "".join(self.PIECES)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return super().answer(asked) | {"choices": [choice]}

    def events(self, asked):
        for piece in (*self.PIECES, None):
            choice = {"index": 0, "delta": {"content": piece} if piece else {}, "finish_reason": None if piece else "stop"}
            chunk = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            yield f"data: {json.dumps(chunk)}"
        yield "data: [DONE]"


class Reranking(Scripted):
    """Ranks documents by the number of their letters `q`, with logits as scores."""

    def answer(self, asked):
        scores = [{"index": index, "relevance_score": 4.0 * text.count("q") - 6} for index, text in enumerate(asked["documents"])]
        return {"model": "r", "results": sorted(scores, key=lambda score: -score["relevance_score"])}


class Refusing(Scripted):
    """Refuses each call with the status that its last message names."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status = int(asked["messages"][-1]["content"])
        # FastAPI's servers say 422 in their own shape.
        body = {"detail": [{"loc": ["body", "n"], "msg": "must be 1"}]}
        if status != 422:
            body = {"error": {"message": "another call changes it", "type": "conflict", "param": None, "code": None}}
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Messages(Scripted):
    """Answers each message with signed thinking and a call of a tool, as Anthropic's servers do."""

    def answer(self, asked):
        content = [THINKING, {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Kiruna"}}]
        usage = {"input_tokens": 3, "output_tokens": 4}
        return MESSAGE | {"content": content, "stop_reason": "tool_use", "usage": usage, "asked": asked}

    def events(self, asked):
        tool = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in PARTS]
        thoughts = [{"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "signed"}]
        start = MESSAGE | {"content": [], "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
        yield self.event({"type": "message_start", "message": start})
        yield self.event({"type": "ping"})
        for index, (block, parts) in enumerate([(THINKING | {"thinking": "", "signature": ""}, thoughts), (tool, deltas)]):
            yield self.event({"type": "content_block_start", "index": index, "content_block": block})
            for part in parts:
                yield self.event({"type": "content_block_delta", "index": index, "delta": part})
            yield self.event({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": "tool_use", "stop_sequence": None}
        yield self.event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 4}})
        yield self.event({"type": "message_stop"})

    @staticmethod
    def event(data):
        return f"event: {data['type']}\ndata: {json.dumps(data)}"


class NativeResponses(Scripted):
    """Answers the Responses API as the official server does."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            native_responses.checked(asked)
        except native_responses.Refused as refused:
            message, param = refused.args
            error = {"message": message, "type": "invalid_request_error", "param": param, "code": "unknown_parameter"}
            return self.reply(400, {"error": error})
        if asked.get("stream"):
            return self.stream(native_responses.events(asked))
        self.reply(200, native_responses.whole(asked))

    def reply(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(handler):
    """Starts a scripted upstream and returns its address."""
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{upstream.server_port}/v1"


def start(kebne, folder, template):
    config = (HERE / template).read_text()
    for place, key in {"@HASH@": KEY, "@READER@": READER}.items():
        config = config.replace(place, hashlib.sha256(key.encode()).hexdigest())
    config = config.replace("@UPSTREAM@", serve(Chat)).replace("@ANTHROPIC@", serve(Messages))
    config = config.replace("@CLEVER@", serve(Clever)).replace("@REFUSING@", serve(Refusing))
    config = config.replace("@NATIVE@", serve(NativeResponses)).replace("@CITING@", serve(Citing))
    config = config.replace("@RERANKING@", serve(Reranking))
    config = config.replace("@PYTHON@", sys.executable).replace("@HERE@", str(HERE.resolve()))
    path = pathlib.Path(folder) / "gateway.toml"
    path.write_text(config)
    command = [kebne, "serve", "--config", str(path), "--listen", "127.0.0.1:0"]
    gateway = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = gateway.stdout.readline()
    return gateway, re.fullmatch(r"kebne on (http://\S+)\n", said).group(1)


def checked(kebne, modules, command, template):
    """Runs the checks of one library. Returns whether they passed, and what they printed."""
    with tempfile.TemporaryDirectory() as folder:
        # Each library gets a gateway of its own: a cold model is cold once.
        gateway, url = start(kebne, folder, template)
        try:
            environment = os.environ | {
                "KEBNE_URL": url,
                "KEBNE_KEY": KEY,
                "KEBNE_READER": READER,
                "NODE_MODULES": modules,
                "OPENAI_MODULE": f"{modules}/openai/index.mjs",
                "ANTHROPIC_MODULE": f"{modules}/@anthropic-ai/sdk/index.mjs",
            }
            done = subprocess.run(
                command, env=environment, timeout=300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            return done.returncode == 0, done.stdout
        except subprocess.TimeoutExpired as late:
            return False, f"{(late.stdout or b'').decode()}\nnot done within {late.timeout} s\n"
        finally:
            gateway.terminate()
            gateway.wait(30)


def main():
    kebne, node, modules, *names = sys.argv[1:]
    python = {"openai": "checks", "openai-responses": "checks_responses",
              "openai-native": "checks_native", "openai-collections": "checks_collections", "openai-batches": "checks_batches", "openai-cache": "checks_cache", "anthropic": "checks_anthropic",
              "langchain, litellm": "checks_frameworks", "llm-comply": "checks_comply",
              "schemathesis": "checks_schemas"}
    commands = {name: [sys.executable, HERE / f"{file}.py"] for name, file in python.items()}
    commands["openai (Node)"] = [node, HERE / "checks.mjs"]
    commands["openai-responses (Node)"] = [node, HERE / "checks_responses.mjs"]
    commands["openai-collections (Node)"] = [node, HERE / "checks_collections.mjs"]
    commands["anthropic (Node)"] = [node, HERE / "checks_anthropic.mjs"]
    commands["vercel"] = [node, HERE / "checks_vercel.mjs"]
    commands = {name: command for name, command in commands.items() if not names or name in names}
    failed = []
    # The libraries wait most of the time: for retries, for a cold model, for timeouts.
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = {name: pool.submit(checked, kebne, modules, command, TEMPLATES.get(name, "gateway.toml.in")) for name, command in commands.items()}
        for name, result in results.items():
            passed, printed = result.result()
            print(f"{name}:\n{printed}", end="", flush=True)
            if not passed:
                failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


main()
