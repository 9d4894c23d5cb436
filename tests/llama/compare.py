"""Loads llama.cpp's server through the gateway, with the adaptive law and with constant limits, and prints a table.

Every run gets calls of the same arrivals, lengths and share of streams; their prompts begin with words of the run, because llama.cpp
keeps the prompts that it has seen and answers them faster. The laws are tried in rounds, in another order each time, and a row is
the sum of its runs. A call succeeds when its whole answer has come within the deadline. It is refused when the gateway says 429 or 503 with Retry-After before the deadline. What is neither is lost.
"""

import argparse
import contextlib
import http.client
import json
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
SLOTS = 4
DEADLINE = 10.0
CONFIG = """
[server]
deadline_default = "10s"
learned_path = ""
[context]
store = "memory"
[[backends]]
name = "llama"
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
[backends.limits]
law = "{law}"
limit_initial = {limit}
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(address, number, words):
    """Makes the call with this number, whose prompt begins with the words, and returns its ending."""
    dice = random.Random(number)
    streamed = dice.random() < 0.5
    tokens = dice.randint(8, 32)
    body = {
        "model": "llama",
        "max_tokens": tokens,
        "stream": streamed,
        "messages": [{"role": "user", "content": f"{words}, story {number}: " + "once upon a time " * dice.randint(1, 10)}],
    }
    began = time.monotonic()
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE + 5)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        in_time = time.monotonic() - began <= DEADLINE
        if answer.status == 200:
            whole = b"[DONE]" in text if streamed else b"usage" in text
            return "served" if whole and in_time else "lost"
        hint = answer.status in (429, 503) and answer.getheader("retry-after")
        return "refused" if hint and in_time else "lost"
    except (OSError, http.client.HTTPException):
        return "lost"
    finally:
        connection.close()


class Count:
    """The endings of calls, with the times of those that were served."""

    def __init__(self, words=""):
        self.words = words
        self.lock = threading.Lock()
        self.ends = {"served": 0, "refused": 0, "lost": 0}
        self.times = []

    def run(self, address, number):
        began = time.monotonic()
        end = call(address, number, self.words)
        with self.lock:
            self.ends[end] += 1
            if end == "served":
                self.times.append(time.monotonic() - began)
        return end

    def add(self, other):
        for end, calls in other.ends.items():
            self.ends[end] += calls
        self.times += other.times


def closed(address, callers, seconds, first, words):
    """Runs callers that each send a call when the last one has ended, and after a refusal wait for a second."""
    count = Count(words)
    until = time.monotonic() + seconds

    def caller(number):
        while time.monotonic() < until:
            if count.run(address, number) != "served":
                time.sleep(1)
            number += callers

    threads = [threading.Thread(target=caller, args=(first + index,)) for index in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count


def opened(address, rate, seconds, first, words):
    """Sends calls at random times, whether the earlier ones have ended or not."""
    count = Count(words)
    dice = random.Random(first)
    began, due, threads, number = time.monotonic(), 0.0, [], first
    while (due := due + dice.expovariate(rate)) < seconds:
        time.sleep(max(0.0, began + due - time.monotonic()))
        thread = threading.Thread(target=count.run, args=(address, number))
        thread.start()
        threads.append(thread)
        number += 1
    for thread in threads:
        thread.join()
    return count


@contextlib.contextmanager
def gateway(kebne, port, law):
    """Starts a gateway with the law, or with a constant limit if `law` is a number."""
    name, limit = ("fixed", law) if law.isdigit() else (law, 2)
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "gateway.toml"
        config.write_text(CONFIG.format(port=port, law=name, limit=limit))
        command = [kebne, "serve", "--config", str(config), "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        host, listens = re.fullmatch(r"kebne on http://(\S+):(\d+)/v1\n", process.stdout.readline()).groups()
        try:
            yield host, int(listens)
        finally:
            process.terminate()
            process.wait(30)


def ready(address):
    """Waits until the server has loaded its model."""
    for _ in range(600):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(*address, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    sys.exit("llama.cpp's server is not ready after a minute")


def row(loop, law, count):
    times = sorted(count.times)
    median = times[len(times) // 2] if times else float("nan")
    ends = count.ends
    print(f"| {loop} | {law} | {ends['served']} | {ends['refused']} | {ends['lost']} | {median:.1f} |", flush=True)


def measure(options, port, loop, law, rate, first, words):
    """Runs the calls once through a gateway of its own."""
    with gateway(options.kebne, port, law) as address:
        if call(address, 700_000, words) != "served":
            sys.exit("the gateway does not answer a call to llama.cpp's server")
        if loop == "open":
            return opened(address, 1.5 * rate, options.seconds, first, words)
        # Each call is answered within 1.5 times the deadline if none is refused.
        return closed(address, max(SLOTS + 1, round(1.5 * rate * DEADLINE)), options.seconds, first, words)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kebne")
    options.add_argument("model")
    options.add_argument("--laws", default="adaptive,2,3,4,5,6,8")
    options.add_argument("--loops", default="open,closed")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--rounds", type=int, default=2, help="how often each law is tried")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--rate", type=float, help="calls per second that the server can serve; measured if missing")
    options = options.parse_args()
    port = free_port()
    command = [sys.executable, HERE / "serve.py", options.model, str(port), HERE / "chatml-tools.jinja", str(SLOTS)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    llama = ("127.0.0.1", port)
    try:
        ready(llama)
        closed(llama, SLOTS, 3, 900_000, "Warm")
        rate = options.rate or closed(llama, SLOTS, 20, 800_000, "Measured").ends["served"] / 20
        print(f"capacity {rate:.2f} calls per second\n", flush=True)
        print("| loop | law | served | refused | lost | median s |\n|---|---|---|---|---|---|", flush=True)
        for loop in options.loops.split(","):
            laws = options.laws.split(",")
            sums = {law: Count() for law in laws}
            for turn in range(options.rounds):
                random.Random(turn).shuffle(laws)
                for law in laws:
                    first = 1000 * (options.seed + turn)
                    sums[law].add(measure(options, port, loop, law, rate, first, f"{loop} {law} {turn}"))
            for law in options.laws.split(","):
                row(loop, law, sums[law])
    finally:
        server.terminate()
        server.wait(30)


main()
