"""Takes pictures of the page: staged incidents in light, dark and on a phone. docs/images has `overload-light.png` (as page.png)
and `alert.png`.

Usage: KEBNE=<program> pictures.py FOLDER [scene ...]
"""

import hashlib
import http.server
import json
import pathlib
import sys
import threading
import time
import urllib.error
import urllib.request

from harness import BROWSER, Program, free_port, gateway, opened, until
from playwright.sync_api import sync_playwright

SCENES = {}
LIGHT = {"color_scheme": "light"}
DARK = {"color_scheme": "dark"}
PHONE = {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
DESK = {"viewport": {"width": 1290, "height": 940}, "device_scale_factor": 1.6}


def scene(function):
    SCENES[function.__name__] = function
    return function


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that does not know the gateway's key."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}'
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def in_background(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


@scene
def first_look(browser, take):
    with gateway() as program:
        for name, options in (("light", {**DESK, **LIGHT}), ("phone", PHONE)):
            with opened(browser, program.url, **options) as page:
                page.locator("article").wait_for()
                take(page, name)


@scene
def cold_start(browser, take):
    with gateway(cold_start="8s") as program, opened(browser, program.url, **{**DESK, **LIGHT}) as page:
        page.get_by_role("button", name="Cold start").click()
        page.get_by_role("button", name="Send").click()
        time.sleep(5)
        take(page, "light")
        with opened(browser, program.url, **PHONE) as phone:
            phone.locator("article").wait_for()
            time.sleep(1.5)
            take(phone, "phone")


@scene
def overload(browser, take):
    with gateway(cold_start="3s", capacity="8", failure_share="0.02") as program:
        with opened(browser, program.url, **{**DESK, **LIGHT}) as page:
            page.get_by_role("button", name="Cold start").click()
            page.get_by_role("button", name="Send").click()
            time.sleep(20)
            page.get_by_role("button", name="Overload").click()
            time.sleep(18)
            take(page, "light")
            with opened(browser, program.url, **{**DESK, **DARK}) as dark:
                dark.locator("article").wait_for()
                time.sleep(2)
                take(dark, "dark")
            with opened(browser, program.url, **PHONE) as phone:
                phone.locator("article").wait_for()
                time.sleep(2)
                take(phone, "phone")


@scene
def panic(browser, take):
    with gateway(preset="instant", fault="panic", fault_share="0.5") as program:
        with opened(browser, program.url, **{**DESK, **LIGHT}) as page:
            for _ in range(40):
                program.chat("simulated")
            page.get_by_text("Failures and states").click()
            time.sleep(7)
            take(page, "light")


@scene
def replicas(browser, take):
    ports = [free_port(), free_port()]
    servers = [Program("simulate", "--port", str(port)) for port in ports]
    backends = "".join(
        f'[[backends]]\nname = "{name}"\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\n' for name, port in zip(("left", "right"), ports)
    )
    settings = f'{backends}[alerts.rules]\ndown_after = "1s"\n[[models]]\nname = "chat"\nbackends = [["left", "right"]]\nupstream = {{ left = "simulated", right = "simulated" }}\n'
    try:
        with gateway(settings) as program, opened(browser, program.url, **{**DESK, **DARK}) as page:
            callers = [in_background(lambda: [program.chat("chat") for _ in range(60)]) for _ in range(6)]
            time.sleep(15)
            servers[0].kill()
            time.sleep(15)
            take(page, "dark")
            with opened(browser, program.url, **PHONE) as phone:
                phone.locator("article").first.wait_for()
                time.sleep(2)
                take(phone, "phone")
            del callers
    finally:
        for one in servers:
            one.stop()


@scene
def wrong_key(browser, take):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    in_background(server.serve_forever)
    settings = f'[[backends]]\nname = "hosted"\nkind = "openai"\nbase_url = "http://127.0.0.1:{server.server_port}/v1"\n'
    with gateway(settings) as program, opened(browser, program.url, **{**DESK, **LIGHT}) as page:
        for _ in range(3):
            program.chat("hosted")
        until(lambda: program.get("/v1/alerts")["active"], "an alert is open")
        page.get_by_text("Failures and states").click()
        page.locator("#alerts").wait_for(state="visible")
        time.sleep(2)
        take(page, "light")
        page.locator("#alerts").screenshot(path=str(take.folder / "alert.png"))
    server.shutdown()


@scene
def keys(browser, take):
    hashed = hashlib.sha256(b"reader").hexdigest()
    settings = f'[[server.keys]]\nname = "reader"\nhash = "{hashed}"\n[[backends]]\nname = "simulated"\nsimulation = {{ preset = "instant" }}\n'
    with gateway(settings) as program, opened(browser, program.url, **PHONE) as page:
        page.locator("#key").wait_for(state="visible")
        take(page, "phone")


@scene
def fleet(browser, take):
    """Twenty backends with long names, some of them out of service, loading or hanging; keys with budgets; alerts."""
    names = [f"meta-llama--llama-3.1-70b-instruct-awq-gpu-{number:02}" for number in range(20)]
    hashed = hashlib.sha256(b"operator").hexdigest()
    settings = '[cost]\ncurrency = "EUR"\n[alerts.rules]\nstuck_after = "5s"\n'
    settings += f'[[server.keys]]\nname = "operator"\nhash = "{hashed}"\nscopes = ["call", "read_state", "admin"]\n'
    for number, name in enumerate(names):
        cold = "30s" if number == 3 else "0s"
        settings += f'[[backends]]\nname = "{name}"\nsimulation = {{ preset = "instant", cold_start = "{cold}", latency = "300ms", capacity_start = 4, capacity = 4 }}\n'
    listed = ", ".join(f'"{name}"' for name in names)
    settings += f'[[models]]\nname = "meta-llama/Meta-Llama-3.1-70B-Instruct-AWQ-INT4-long-context"\nbackends = [[{listed}]]\n'
    settings += f'[[models]]\nname = "cold"\nbackends = ["{names[3]}"]\n'
    price = "[models.price]\ninput = 200\noutput = 900\n"
    settings += f'[[models]]\nname = "small"\nbackends = ["{names[5]}", "{names[6]}"]\n{price}'
    with gateway(settings) as program:
        def send(method, path, body=None, key="operator"):
            headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(program.url + path, data, headers, method=method)
            try:
                return json.load(urllib.request.urlopen(request, timeout=20))
            except urllib.error.HTTPError as error:
                return error.code

        keys = ["operator"]
        for name in ("search-and-retrieval-of-the-research-department", "nightly", "chat"):
            budget = {"budgets": [{"money": 0.05, "per": "day"}, {"tokens": 1000000, "per": "month"}]} if name == "chat" else {}
            keys.append(send("POST", "/admin/v1/keys", {"name": name, "limits": budget})["key"])
        send("POST", f"/admin/v1/backends/{names[1]}/drain", {})
        send("POST", f"/admin/v1/backends/{names[2]}/disable", {})
        models = ["meta-llama/Meta-Llama-3.1-70B-Instruct-AWQ-INT4-long-context", "small"]

        def calls(key):
            for turn in range(40):
                send("POST", "/v1/chat/completions", {"model": models[turn % 2], "max_tokens": 20, "messages": [{"role": "user", "content": "a"}]}, key)

        callers = [in_background(calls, key) for key in keys * 3]
        in_background(send, "POST", "/v1/chat/completions", {"model": "cold", "messages": [{"role": "user", "content": "a"}]})
        for caller in callers:
            caller.join()
        send("POST", f"/lab/{names[0]}/hang", {})
        time.sleep(9)
        for name, options in (("light", {**DESK, **LIGHT}), ("dark", {**DESK, **DARK}), ("phone", PHONE)):
            with opened(browser, program.url, **options) as page:
                page.get_by_label("API key with the scope").fill("operator")
                page.keyboard.press("Enter")
                page.locator("article").first.wait_for()
                page.locator("#alerts").wait_for(state="visible")
                time.sleep(2)
                take(page, name)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    chosen = sys.argv[2:] or SCENES
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for name in chosen:

            def take(page, look, name=name):
                path = folder / f"{name}-{look}.png"
                page.screenshot(path=str(path), full_page=(look == "phone" and name != "fleet") or name in ("panic", "wrong_key", "replicas"))
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                print(f"{path}{f': {wide} px too wide' if wide > 0 else ''}", flush=True)

            take.folder = folder
            SCENES[name](browser, take)


main()
