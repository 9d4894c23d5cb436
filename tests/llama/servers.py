"""Has the gateway start and stop two of llama.cpp's servers with room for one, and checks that every caller is answered.

usage: servers.py KEBNE_PROGRAM MODEL
"""

import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import openai

HERE = pathlib.Path(__file__).parent
CALLERS = 50


def config(model):
    text = (HERE / "servers.toml.in").read_text()
    values = {"PYTHON": sys.executable, "SERVE": HERE / "serve.py", "MODEL": model,
              "TEMPLATE": HERE / "chatml-tools.jinja"}
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


class Gateway:
    def __init__(self, program, folder):
        command = [program, "serve", "--config", str(pathlib.Path(folder) / "servers.toml"), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = re.fullmatch(r"kebne on (http://\S+)\n", self.process.stdout.readline()).group(1)
        self.client = openai.AsyncOpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=300)

    def servers(self):
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/admin/v1/servers") as answer:
            return {server["name"]: server for server in json.load(answer)["data"]}

    async def call(self, model, stream, tokens=16):
        ask = [{"role": "user", "content": "Count from one to ten."}]
        call = self.client.chat.completions.create(model=model, messages=ask, max_tokens=tokens, temperature=0, stream=stream)
        answer = await call
        if not stream:
            assert answer.choices[0].message.content
            return answer.choices[0].finish_reason
        reason = None
        async for event in answer:
            reason = event.choices[0].finish_reason or reason
        return reason


async def mixed_callers(gateway):
    """Every one of 50 callers of both models, whole and streamed, is answered, with few swaps."""
    since = time.monotonic()
    calls = [gateway.call(["one", "two"][number % 3 == 0], number % 2 == 0) for number in range(CALLERS)]
    reasons = await asyncio.gather(*calls)
    assert all(reason in ("stop", "length") for reason in reasons), reasons
    servers = gateway.servers()
    loads = servers["one"]["loads"] + servers["two"]["loads"]
    swaps = servers["one"]["swaps"] + servers["two"]["swaps"]
    ready = [name for name, server in servers.items() if server["state"] == "ready"]
    assert len(ready) == 1, servers
    assert 2 <= loads <= 8, servers
    print(f"{CALLERS} callers answered in {time.monotonic() - since:.1f} s with {loads} loads and {swaps} swaps")


async def killed(gateway):
    """Whole calls survive the kill of their server; streams that had begun end with an error, not silently."""
    await gateway.call("one", False)
    pid = gateway.servers()["one"]["pid"]
    calls = [asyncio.create_task(gateway.call("one", number % 4 == 0, 48)) for number in range(12)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    os.kill(pid, signal.SIGKILL)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    whole = [reason for number, reason in enumerate(ended) if number % 4]
    assert all(reason in ("stop", "length") for reason in whole), ended
    streamed = [reason for number, reason in enumerate(ended) if number % 4 == 0]
    assert all(isinstance(reason, openai.APIError) or reason in ("stop", "length") for reason in streamed), ended
    one = gateway.servers()["one"]
    assert one["pid"] not in (pid, None) and one["failures"] == 1, one
    lost = sum(isinstance(reason, Exception) for reason in ended)
    print(f"after kill -9: {len(ended) - lost} of {len(ended)} calls answered, {lost} begun streams ended with an error")


async def broken(gateway):
    """A server that never becomes healthy is reported, and the others serve on."""
    call = gateway.client.with_options(timeout=60).chat.completions.create
    failing = asyncio.create_task(call(model="broken", messages=[{"role": "user", "content": "a"}],
                                       extra_headers={"x-kebne-deadline-ms": "15000"}))
    while not gateway.servers()["broken"]["is_failing"]:
        await asyncio.sleep(0.1)
    for number in range(6):
        assert await gateway.call("one", number % 2 == 0) in ("stop", "length")
    try:
        await failing
        raise AssertionError("a model that does not exist has answered")
    except openai.APIStatusError as error:
        assert error.status_code == 503, error
    report = gateway.servers()["broken"]
    print(f"the broken server is reported after {report['failures']} failures: {report['last_error']}")


async def check(gateway):
    for part in (mixed_callers, killed, broken):
        await asyncio.wait_for(part(gateway), 300)
    await gateway.call("one", False)
    return [server["pid"] for server in gateway.servers().values() if server["pid"]]


def main():
    program, model = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "servers.toml").write_text(config(model))
        gateway = Gateway(program, folder)
        try:
            pids = asyncio.run(check(gateway))
            gateway.process.terminate()
            assert gateway.process.wait(60) == 0
            left = [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]
            assert pids and not left, f"left behind: {left}"
            print("the servers ended with the gateway")
        finally:
            gateway.process.kill()
            gateway.process.wait()


main()
