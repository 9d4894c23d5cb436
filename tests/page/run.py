"""Checks the live page in a real browser, against the real program.

Usage: KEBNE=<program> run.py [check ...]
"""

import hashlib
import http.server
import os
import pathlib
import re
import threading

from harness import BROWSER, PATIENCE_MS, Program, check, free_port, gateway, main, opened, until
from playwright.sync_api import expect as expected, sync_playwright

ACCESSIBLE = pathlib.Path(__file__).with_name("accessible.js").read_text()
expected.set_options(timeout=PATIENCE_MS)


def figure(card, name):
    """Returns a number of a card's list."""
    return card.locator(".figures div", has=card.page.locator(f"dt:text-is('{name}')")).locator("dd")


def card_of(page, name):
    return page.locator(f"article[aria-labelledby='lane-{name}']")


@check("a cold start shows who waits, why and how long, and the try-it box streams through it")
def cold_start(browser):
    with gateway(cold_start="3s", failure_share="0", slow_share="0", token_time="5ms", capacity_start="8") as program, opened(browser, program.url) as page:
        card = card_of(page, "simulated")
        expected(card.locator(".pill")).to_have_text("asleep or unknown")
        page.get_by_role("button", name="Cold start").click()
        expected(card.locator(".pill")).to_have_text("loading")
        expected(card.locator(".sentence")).to_contain_text("wait: the model loads, about")
        page.get_by_role("button", name="Send").click()
        expected(page.locator("#try-steps")).to_contain_text("the model loads")
        expected(page.locator("#overall")).to_contain_text("is getting ready")
        expected(page.locator("#try-steps")).to_contain_text("First token after")
        expected(page.locator("#try-steps")).to_contain_text("Complete after")
        expected(page.locator("#try-answer")).to_contain_text("You said: “Why is the sky blue?”")
        expected(card.locator(".pill")).to_have_text(re.compile("serving|growing"))
        expected(figure(card, "waiting")).to_have_text("0")
        expected(card.locator(".line.flight")).to_have_attribute("d", re.compile("^M.*L"))


@check("what the page shows equals /state")
def equals_state(browser):
    with gateway(preset="instant") as program, opened(browser, program.url) as page:
        for _ in range(7):
            assert program.chat("simulated") == 200
        card = card_of(page, "simulated")
        expected(figure(card, "served")).to_have_text("7 of 7")
        state = program.get("/state")
        lane = state["lanes"][0]
        grant = lane["controller"]["grant"]
        expected(figure(card, "in flight")).to_have_text(f"{lane['pool']['in_flight']} of {grant['concurrency']}")
        expected(figure(card, "waiting")).to_have_text(str(lane["pool"]["queued"]))
        expected(figure(card, "retries left")).to_have_text(str(round(lane["pool"]["retry_budget"])))
        page.get_by_text("Failures and states").click()
        states = [lane["state_changes"][0].split("->")[0]] + [change.split("->")[1] for change in lane["state_changes"]]
        expected(card).to_contain_text(" → ".join(states))
        assert lane["state"] in states
        expected(page.locator("#service-facts")).to_contain_text(f"{len(state['actors'])}, 0 restarts")
        expected(page.locator("#service-facts div", has_text="Sessions").last.locator("dd")).to_have_text(str(state["sessions"]["count"]))
        expected(page.locator("#version")).to_have_text(f"Kebne {state['version']}")
        shown = page.locator("#actor-tree .name").all_inner_texts()
        for actor in state["actors"]:
            name = actor["path"].split("/")[-1]
            assert name in shown or name.startswith("worker-"), (name, shown)
        # The table behind a chart has the numbers of the chart.
        page.get_by_text("Table: Calls in flight").click()
        row = card.locator("table", has_text="Calls in flight").locator("tbody tr").last
        expected(row.locator("td").first).to_have_text(str(grant["concurrency"]))


@check("an overload shows the queue, the limit and the refusals")
def overload(browser):
    with gateway(cold_start="200ms", failure_share="0", slow_share="0", token_time="2ms", capacity="3", capacity_start="3") as program:
        with opened(browser, program.url) as page:
            card = card_of(page, "simulated")
            page.get_by_role("button", name="Overload").click()
            expected(card.locator(".said")).to_contain_text("are on their way")
            until(lambda: int(figure(card, "waiting").inner_text()) >= 5, "5 callers wait")
            expected(card.locator(".sentence")).to_contain_text("callers wait")
            expected(card.locator(".pill")).to_have_text("serving")
            # The law says why it keeps to its limit.
            expected(card.locator(".decisions li").first).to_contain_text(re.compile("so the limit|its limit, which stays"))
            page.get_by_role("button", name="Overload").click()
            expected(card.locator(".said")).to_contain_text("still running")
            expected(card.locator(".fill.success")).to_have_attribute("d", re.compile("^M"))


@check("a panic in a backend's client is shown with its cause")
def panic(browser):
    with gateway(preset="instant", fault="panic") as program, opened(browser, program.url) as page:
        page.get_by_role("button", name="Send").click()
        expected(page.locator("#try-steps [data-level=bad]")).to_be_visible()
        card = card_of(page, "simulated")
        page.get_by_text("Failures and states").click()
        expected(card.locator(".failed")).to_contain_text("Last failure")
        failure = program.get("/state")["lanes"][0]["last_failure"]
        expected(card.locator(".failed")).to_contain_text(failure["message"])
        expected(card.get_by_role("table", name="Failed attempts")).to_contain_text("panic")
        # The worker was restarted, and the tree of actors says why.
        expected(page.locator("#actor-tree")).to_contain_text("1 restart")
        expected(page.locator("#actor-tree")).to_contain_text("last failure: the attempt panicked")


@check("when one of two replicas dies, the page shows which, and the other serves on")
def replica(browser):
    ports = [free_port(), free_port()]
    replicas = [Program("simulate", "--port", str(port), "--preset", "instant") for port in ports]
    backends = "".join(
        f'[[backends]]\nname = "{name}"\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\n' for name, port in zip(("left", "right"), ports)
    )
    settings = f'{backends}[[models]]\nname = "chat"\nbackends = ["left", "right"]\nupstream = {{ left = "simulated", right = "simulated" }}\n'
    settings += '[[models]]\nname = "second"\nbackends = ["right"]\nupstream = { right = "simulated" }\n'
    try:
        with gateway(settings) as program, opened(browser, program.url) as page:
            assert program.chat("chat") == 200
            expected(card_of(page, "left").locator(".pill")).to_have_text("growing")
            replicas[0].kill()

            def broken():
                program.chat("chat")
                return program.get("/state")["lanes"][0]["state"] == "open"

            until(broken, "the breaker of the dead replica opens")
            assert program.chat("second") == 200
            expected(card_of(page, "left").locator(".pill")).to_have_text("broken")
            expected(card_of(page, "left").locator(".sentence")).to_contain_text("so many calls failed in a row")
            expected(page.locator("#overall")).to_contain_text("“left” is not serving")
            expected(card_of(page, "right").locator(".pill")).to_have_text(re.compile("serving|growing"))
            expected(page.locator("#model-list .backend[data-level=bad]")).to_contain_text("left")
            expected(page.locator("#model-list .backend[data-level=good]").first).to_contain_text("right")
    finally:
        for one in replicas:
            one.stop()


@check("a backend that cannot be reached is not said to load")
def unreachable(browser):
    settings = f'[[backends]]\nname = "away"\nkind = "openai"\nbase_url = "http://127.0.0.1:{free_port()}/v1"\n'
    with gateway(settings) as program, opened(browser, program.url) as page:
        call = threading.Thread(target=program.chat, args=("away",))
        call.start()
        expected(card_of(page, "away").locator(".pill")).to_have_text("unreachable")
        expected(card_of(page, "away").locator(".sentence")).to_have_text("1 caller waits: the backend cannot be reached; it may be starting.")
        expected(page.locator("#overall")).to_contain_text("“away” is held up")
        call.join()


@check("a backend that does not accept the key is not said to sleep, and the header names the alert")
def wrong_key(browser):
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_error(401)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = f'[[backends]]\nname = "hosted"\nkind = "openai"\nbase_url = "http://127.0.0.1:{server.server_port}/v1"\n'
    with gateway(settings) as program, opened(browser, program.url) as page:
        assert program.chat("hosted") == 502
        expected(card_of(page, "hosted").locator(".pill")).to_have_text("misconfigured")
        expected(card_of(page, "hosted").locator(".sentence")).to_contain_text("does not accept the gateway")
        expected(page.locator("#overall")).to_have_text("“hosted” is not serving; nobody waits. 1 alert is open.")
    server.shutdown()


@check("the servers that the gateway starts show their state, and why one does not start")
def servers(browser):
    settings = "".join(f"""
[[backends]]
name = "{name}"
kind = "openai"
[backends.process]
command = "{command}"
args = ["simulate", "--port", "{{port}}"]
[backends.process.env]
KEBNE__SIMULATION__PRESET = "instant"
KEBNE__SIMULATION__CAPACITY_START = "8"
""" for name, command in [("good", os.environ["KEBNE"]), ("missing", "/no/such/program")])
    with gateway(settings) as program, opened(browser, program.url) as page:
        good, missing = [page.locator(f"#server-list > li[data-key='{name}']") for name in ("good", "missing")]
        expected(good).to_contain_text("stopped for")
        assert program.chat("good") == 200
        expected(good).to_contain_text("ready for")
        expected(good).to_contain_text("1 load")
        expected(good).to_have_attribute("data-level", "good")
        program.post("/admin/v1/backends/missing/load")
        expected(missing).to_have_attribute("data-level", "bad")
        expected(missing.locator(".failure")).to_be_visible()
        expected(page.locator("#alert-list")).to_contain_text("The model server missing does not start")


@check("a closed lane and its alert are shown until it is opened again")
def alert(browser):
    with gateway(preset="instant") as program, opened(browser, program.url) as page:
        assert program.chat("simulated") == 200
        program.post("/backends/simulated/close")
        expected(card_of(page, "simulated").locator(".pill")).to_have_text("closed")
        expected(card_of(page, "simulated").locator(".sentence")).to_contain_text("closed by an operator")
        shown = page.get_by_role("region", name="Alerts")
        expected(shown).to_be_visible()
        active = until(lambda: program.get("/v1/alerts")["active"], "an alert is open")
        # What is between backticks is shown as code.
        expected(shown).to_contain_text(active[0]["sentence"].replace("`", ""))
        expected(shown).to_contain_text(active[0]["action"].replace("`", ""))
        expected(page.locator("#overall")).to_contain_text("1 alert is open.")
        expected(page.locator("#overall")).to_have_attribute("data-level", "bad")
        program.post("/backends/simulated/reopen")
        expected(card_of(page, "simulated").locator(".pill")).not_to_have_text("closed")


@check("a lane that hangs is shown as not answering, and its numbers stay")
def hanging(browser):
    with gateway(preset="instant") as program, opened(browser, program.url) as page:
        assert program.chat("simulated") == 200
        card = card_of(page, "simulated")
        expected(figure(card, "served")).to_have_text("1 of 1")
        program.post("/lab/simulated/hang")
        expected(card.locator(".pill")).to_have_text("not answering")
        expected(card.locator(".sentence")).to_contain_text("have not answered for")
        expected(page.locator("#overall")).to_contain_text("“simulated” is not answering")
        expected(figure(card, "served")).to_have_text("1 of 1")


@check("many backends are folded until they are asked for, and so are many alerts")
def folded(browser):
    names = [f"replica-with-a-long-name-{number}" for number in range(8)]
    settings = "".join(f'[[backends]]\nname = "{name}"\nsimulation = {{ preset = "instant" }}\n' for name in names)
    with gateway(settings) as program, opened(browser, program.url) as page:
        card = card_of(page, names[7])
        expected(card.locator(".sentence")).to_be_visible()
        expected(card.locator(".charts")).to_be_hidden()
        assert program.chat(names[7]) == 200
        card.get_by_role("button", name="More", exact=True).click()
        expected(card.locator(".line.limit")).to_have_attribute("d", re.compile("^M"))
        expected(card_of(page, names[6]).locator(".charts")).to_be_hidden()
        card.get_by_role("button", name="Less", exact=True).click()
        expected(card.locator(".charts")).to_be_hidden()
        for name in names[:4]:
            program.post(f"/admin/v1/backends/{name}/disable")
        more = page.get_by_role("button", name="Show 1 more")
        expected(more).to_be_visible()
        expected(page.locator("#alert-list > li:visible")).to_have_count(3)
        more.click()
        expected(page.locator("#alert-list > li:visible")).to_have_count(4)
        expected(page.locator("#model-list .name", has_text="replica-w…ong-name-7")).to_have_attribute("title", names[7])


def hashed(key):
    return hashlib.sha256(key.encode()).hexdigest()


@check("with keys the page asks for one, keeps it in the tab only, and forgets it")
def keys(browser):
    names = (("reader", '["read_state", "call"]'), ("caller", '["call"]'))
    listed = "".join(f'[[server.keys]]\nname = "{name}"\nhash = "{hashed("secret-" + name)}"\nscopes = {scopes}\n' for name, scopes in names)
    listed = listed.replace('name = "reader"\n', 'name = "reader"\nlimits = { budgets = [{ tokens = 500, per = "day" }] }\n')
    settings = f'{listed}[[backends]]\nname = "simulated"\nsimulation = {{ preset = "instant" }}\n'
    with gateway(settings) as program, opened(browser, program.url) as page:
        field = page.get_by_label("API key with the scope")
        expected(field).to_be_focused()
        expected(page.locator("#content")).to_be_hidden()
        for key, said in (("wrong", "not known"), ("secret-caller", "lacks the scope `read_state`")):
            page.keyboard.type(key)
            page.keyboard.press("Enter")
            expected(page.get_by_role("alert")).to_contain_text(said)
        page.keyboard.type("secret-reader")
        page.keyboard.press("Enter")
        expected(card_of(page, "simulated")).to_be_visible()
        page.get_by_role("button", name="Send").click()
        expected(page.locator("#try-steps")).to_contain_text("Complete after")
        row = page.get_by_role("row", name="reader")
        expected(row.locator("td").nth(1)).to_have_text("1")
        expected(row.locator("td").nth(4)).to_have_text(re.compile(r"^[1-9]\d* %$"))
        assert page.evaluate("Object.values({...localStorage}).join().includes('secret')") is False
        assert page.evaluate("sessionStorage.getItem('kebne.key')") == "secret-reader"
        assert "secret" not in page.url and "secret" not in page.locator("body").inner_text()
        # The key lacks the scope of the lab's buttons, and the page says so.
        page.get_by_role("button", name="Overload").click()
        expected(page.locator(".said")).to_contain_text("lacks the scope `admin`")
        page.get_by_role("button", name="Forget key").click()
        expected(field).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0


@check("the page survives a restart of the gateway, and says what it does meanwhile")
def restart(browser):
    port = free_port()
    program = Program("serve", "--listen", f"127.0.0.1:{port}", variables={"KEBNE__BACKENDS__0__SIMULATION__PRESET": "instant"})
    try:
        with opened(browser, program.url) as page:
            expected(page.locator("#connection")).to_have_text("live")
            program.kill()
            expected(page.locator("#overall")).to_contain_text("No connection to the gateway")
            expected(page.locator("#connection")).to_contain_text("Trying again in")
            program.start()
            expected(page.locator("#connection")).to_have_text("live")
            assert program.chat("simulated") == 200
            expected(figure(card_of(page, "simulated"), "served")).to_have_text("1 of 1")
    finally:
        program.stop()


@check("everything can be reached and used with the keyboard alone, and the focus is seen")
def keyboard(browser):
    with gateway(cold_start="300ms") as program, opened(browser, program.url) as page:
        expected(card_of(page, "simulated")).to_be_visible()
        page.keyboard.press("Tab")
        expected(page.get_by_role("link", name="Skip to the backends")).to_be_focused()
        page.keyboard.press("Enter")
        expected(page.locator("#lanes")).to_be_focused()
        reached = []
        for _ in range(60):
            page.keyboard.press("Tab")
            name, outline = page.evaluate(
                "(() => { const at = document.activeElement; const mark = at.type === 'radio' ? at.parentElement : at;"
                " return [at.id || at.value || at.textContent, getComputedStyle(mark).outlineStyle]; })()"
            )
            if name in reached or not name:
                break
            assert outline != "none", f"the focus is not seen at {name}"
            reached.append(name)
            if name == "60":
                page.keyboard.press("ArrowRight")
                expected(page.locator("input[value='180']")).to_be_checked()
            if name == "Cold start":
                page.keyboard.press("Enter")
            if name == "try-send":
                page.keyboard.press("Enter")
                expected(page.locator("#try-steps")).to_contain_text("Complete after")
                break
        for name in ("60", "Decisions about the limit", "Cold start", "Overload", "try-model", "try-prompt", "try-send"):
            assert name in reached, f"{name} is not reached: {reached}"
        expected(page.locator(".said")).to_contain_text("are on their way")


@check("names, labels, structure, contrast and sizes are right: light, dark, phone")
def accessible(browser):
    with gateway(preset="instant") as program:
        for options in (
            {"color_scheme": "light"},
            {"color_scheme": "dark"},
            {"color_scheme": "dark", "viewport": {"width": 360, "height": 780}},
        ):
            with opened(browser, program.url, **options) as page:
                expected(card_of(page, "simulated")).to_be_visible()
                page.get_by_role("button", name="Send").click()
                expected(page.locator("#try-steps")).to_contain_text("Complete after")
                page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
                faults = page.evaluate(ACCESSIBLE)
                assert not faults, "\n".join([str(options), *faults])
                # Screen readers hear of states, not of each sample.
                heard = page.evaluate(
                    "new Promise((done) => { let count = 0; const seen = new MutationObserver((all) => (count += all.length));"
                    " for (const node of document.querySelectorAll('[role=status], [role=alert], [aria-live=polite]'))"
                    " seen.observe(node, { childList: true, characterData: true, subtree: true });"
                    " setTimeout(() => done(count), 2500); })"
                )
                assert heard <= 1, f"{heard} announcements in 2.5 s"


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        main(chromium)
