"""A rolling restart: two gateways behind nginx are restarted one after the other under load, and no call is lost."""

import json
import os
import signal
import subprocess
import tempfile
import urllib.request

from harness import KEBNE, KEY, WITHIN, Failed, Programs, check, expect, free_port, status, wait_for

# The model server serves 8 calls at once, 0.25 s each: 32 calls per second.
MODEL_SERVER = """
[simulation]
preset = "default"
cold_start = "0s"
idle_after = "0s"
capacity_start = 8
capacity = 8
latency = "100ms"
latency_spread = 0.2
slow_share = 0.0
failure_share = 0.0
token_time = "5ms"
answer_tokens = 30
"""
# Calls per second of each of the two loads, one whole and one streamed: half of what can be served.
RATE, SECONDS = 8, 24
SERVER = {"lame_duck": "2s", "drain_deadline": "10s"}


def load(programs, port, stream, seed):
    command = [
        KEBNE, "load", "--json", "--url", f"http://127.0.0.1:{port}/v1", "--model", "test", "--key-env", "TEST_KEY",
        "--rate", RATE, "--duration", f"{SECONDS}s", "--deadline", "20s", "--seed", seed, *(["--stream"] if stream else []),
    ]
    return subprocess.Popen(
        [str(part) for part in command], cwd=programs.folder, env={**os.environ, "TEST_KEY": KEY}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )


def served(port):
    """Returns the calls that a gateway has served: it takes part in the load."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("kebne_calls_total") and "success" in line)


def restart(programs, processes, number, port, backend):
    """Waits until a gateway serves, stops it as a service manager does, and starts it again."""
    wait_for(f"gateway-{number} serves", lambda: served(port) >= 5)
    processes[number].send_signal(signal.SIGTERM)
    code = processes[number].wait(WITHIN)
    expect(code == 0, f"gateway-{number} ended with {code}")
    processes[number] = programs.gateway(f"gateway-{number}", port, backend, **SERVER)


def roll(proxy):
    with tempfile.TemporaryDirectory(prefix="kebne-rolling-") as folder:
        programs = Programs(folder)
        (programs.folder / "model.toml").write_text(MODEL_SERVER)
        backend, ports = free_port(), [free_port(), free_port()]
        loads = []
        try:
            programs.start("model", KEBNE, "simulate", "--port", backend, "--config", programs.folder / "model.toml")
            wait_for("the model server answers", lambda: status(f"http://127.0.0.1:{backend}/v1/models"))
            processes = [
                programs.gateway(f"gateway-{number}", port, backend, **SERVER) for number, port in enumerate(ports)
            ]
            port = proxy(programs, ports)
            loads = [load(programs, port, stream, seed) for seed, stream in enumerate([False, True], 1)]
            for number in range(2):
                restart(programs, processes, number, ports[number], backend)
            expect(all(each.poll() is None for each in loads), "the load ended before both gateways were restarted")
            for each, what in zip(loads, ["whole", "streamed"]):
                report = json.loads(each.communicate(timeout=SECONDS + WITHIN)[0])["load"]
                offered, answered = report["offered"], report["served"]
                lost = {**report["shed"], **report["failed"]}
                expect(offered > RATE * SECONDS / 2, f"only {offered} {what} calls were sent")
                expect(offered == answered, f"{offered - answered} of {offered} {what} calls were lost: {lost}")
                print(f"    {answered} of {offered} {what} calls served")
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{programs.logs()}") from error
        finally:
            for each in loads:
                each.kill()
                each.wait()
            programs.stop()


@check("two gateways behind nginx are restarted at half load, and no call is lost")
def nginx():
    roll(lambda programs, ports: programs.nginx(ports)[1])


@check("two gateways behind Caddy are restarted at half load, and no call is lost")
def caddy():
    roll(Programs.caddy)
