"""The file of sessions is copied while calls write to it, and the copy is restored."""

import http.client
import json
import pathlib
import sqlite3
import tempfile
import threading

from harness import CHAT, KEBNE, WITHIN, Failed, Programs, check, expect, free_port, status, wait_for

SESSIONS, BACKUPS = 8, 3


def call(port, method, path, body=None, session=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    headers = {"content-type": "application/json", **({"x-kebne-session": session} if session else {})}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    text = answer.read()
    expect(answer.status == 200 or answer.status == 201, f"{method} {path}: {answer.status} {text[:200]}")
    return json.loads(text)


def start(programs, name, store):
    port = free_port()
    config = programs.folder / f"{name}.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nlearned_path = ""\ndecisions_path = ""\nlame_duck = "0s"\n[context]\npath = "{store}"\n'
        '[[backends]]\nname = "model"\n[backends.simulation]\npreset = "instant"\n'
    )
    programs.start(name, KEBNE, "serve", "--config", config)
    wait_for(f"{name} is ready", lambda: status(f"http://127.0.0.1:{port}/readyz") == 200)
    return port


class Writer(threading.Thread):
    """Adds turns to a session until it is stopped; `kept` are those whose calls were answered."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.session = port, call(port, "POST", "/v1/sessions", {})["id"]
        self.kept, self.stopped, self.error = 0, threading.Event(), None

    def run(self):
        try:
            while not self.stopped.is_set() and self.kept < 500:
                message = {"role": "user", "content": f"turn {self.kept}"}
                call(self.port, "POST", CHAT, {"model": "model", "max_tokens": 1, "messages": [message]}, self.session)
                self.kept += 1
        except (Failed, OSError) as error:
            self.error = error


def turns(port, session):
    found, after = [], ""
    while True:
        page = call(port, "GET", f"/v1/sessions/{session}/turns?limit=100{after}")
        found += page["data"]
        if not page.get("has_more"):
            return found
        after = f"&after={page['next_after']}"


def back_up(source, target):
    """Copies a file that is in use, as `sqlite3 FILE '.backup COPY'` does."""
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as file, sqlite3.connect(target) as copy:
        file.backup(copy, pages=16)
        [(result,)] = copy.execute("pragma integrity_check").fetchall()
    expect(result == "ok", f"integrity_check: {result}")


@check("a backup of the sessions under load holds every turn that was answered before it")
def backup():
    with tempfile.TemporaryDirectory(prefix="kebne-backup-") as folder:
        programs, writers = Programs(folder), []
        try:
            store = pathlib.Path(folder, "sessions.sqlite")
            port = start(programs, "original", store)
            writers = [Writer(port) for _ in range(SESSIONS)]
            for writer in writers:
                writer.start()
            for number in range(BACKUPS):
                least = 5 * (number + 1)
                wait_for("turns are written", lambda: all(writer.kept >= least or writer.error for writer in writers))
                before = [writer.kept for writer in writers]
                copy = pathlib.Path(folder, f"copy-{number}.sqlite")
                back_up(store, copy)
                expect(not any(writer.error for writer in writers), f"a call failed: {[writer.error for writer in writers]}")
                restored = start(programs, f"restored-{number}", copy)
                for writer, kept in zip(writers, before):
                    found = len(turns(restored, writer.session))
                    expect(found >= kept, f"{found} turns restored, {kept} were answered before the backup")
                writer = writers[0]
                message = {"role": "user", "content": "after the restore"}
                call(restored, "POST", CHAT, {"model": "model", "max_tokens": 1, "messages": [message]}, writer.session)
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{programs.logs()}") from error
        finally:
            for writer in writers:
                writer.stopped.set()
                writer.join(WITHIN)
            programs.stop()
