"""The examples of proxies, with real ones: a stream passes part by part, and nothing but the APIs is reachable."""

import contextlib
import http.server
import json
import tempfile
import threading

from harness import CHAT, KEY, WITHIN, Failed, Programs, check, connect, expect, free_port

PARTS = 5


class ModelServer(http.server.ThreadingHTTPServer):
    """A model server that sends the next part of its stream only when the caller has received the last one.

    A proxy that collects parts before it passes them on would wait for ever.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.received = threading.Semaphore(1)
        self.kept_back = 0
        self.handle_error = lambda *_: None
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Recorder(http.server.ThreadingHTTPServer):
    """A server in the place of a gateway that keeps the headers of the last request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Recording)
        self.seen = None
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Recording(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/readyz":
            self.server.seen = self.headers
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for number in range(PARTS):
            if not self.server.received.acquire(timeout=WITHIN / 4):
                self.server.kept_back += 1
            end = "stop" if number == PARTS - 1 else None
            choice = {"index": 0, "delta": {"content": f"part-{number} "}, "finish_reason": end}
            event = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "test", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def behind(proxy):
    """Starts two gateways in front of a model server, and a proxy in front of them."""
    with tempfile.TemporaryDirectory(prefix="kebne-proxy-") as folder:
        programs, server = Programs(folder), ModelServer()
        ports = [free_port(), free_port()]
        try:
            for number, port in enumerate(ports):
                programs.gateway(f"gateway-{number}", port, server.server_port, lame_duck="0s")
            yield server, proxy(programs, ports)
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{programs.logs()}") from error
        finally:
            programs.stop()
            server.shutdown()


def call(connection, method, path, body=None, key=KEY):
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    # A server that refuses a body because of its length answers without reading it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, path, body, headers)
    return connection.getresponse()


def streams_part_by_part(server, connection):
    body = json.dumps({"model": "test", "stream": True, "messages": [{"role": "user", "content": "a"}]})
    answer = call(connection, "POST", CHAT, body)
    expect(answer.status == 200, f"the stream is answered with {answer.status}")
    seen = 0
    while line := answer.readline():
        if b"part-" in line:
            seen += 1
            server.received.release()
    expect(seen == PARTS, f"{seen} parts of {PARTS} arrived")
    expect(server.kept_back == 0, f"{server.kept_back} parts arrived only after later ones were sent: they are buffered")


def exposes_the_apis_only(port, certificate=None):
    for path in ["/", "/metrics", "/state", "/live", "/healthz", "/readyz", "/backends/server/close", "/v2"]:
        connection = connect(port, certificate)
        got = call(connection, "GET", path).status
        expect(got == 404, f"{path} is answered with {got}")
    for key, expected in [(KEY, 200), ("another", 401)]:
        got = call(connect(port, certificate), "GET", "/v1/models", key=key).status
        expect(got == expected, f"/v1/models is answered with {got} instead of {expected}")
    # `server.body_size_max` is refused by the proxy, whose bound must not be smaller.
    for size, expected in [((16 << 20) + 1, [413]), ((16 << 20) - 1, [400, 404])]:
        body = b'{"model": "none", "messages": [], "user": "' + b"a" * (size - 45) + b'"}'
        got = call(connect(port, certificate), "POST", CHAT, body).status
        expect(got in expected, f"a body of {size} bytes is answered with {got}")


@check("nginx passes a stream on part by part, with TLS, and exposes the APIs only")
def nginx():
    with behind(Programs.nginx) as (server, (tls, plain, certificate)):
        streams_part_by_part(server, connect(tls, certificate))
        exposes_the_apis_only(tls, certificate)
        streams_part_by_part(server, connect(plain))


@check("Caddy passes a stream on part by part, and exposes the APIs only")
def caddy():
    with behind(Programs.caddy) as (server, port):
        streams_part_by_part(server, connect(port))
        exposes_the_apis_only(port)


def replaces_headers(proxy, connected):
    with tempfile.TemporaryDirectory(prefix="kebne-headers-") as folder:
        programs, server = Programs(folder), Recorder()
        try:
            connection = connected(proxy(programs, [server.server_port, server.server_port]))
            sent = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "gopher", "Forwarded": "for=203.0.113.7", "x-request-id": "mine"}
            connection.request("GET", "/v1/models", headers=sent)
            expect(connection.getresponse().status == 200, "the request did not pass")
            seen = server.seen
            expect(seen["x-forwarded-for"] == "127.0.0.1", f"X-Forwarded-For is {seen['x-forwarded-for']}")
            expect(seen["x-forwarded-proto"] in ("http", "https"), f"X-Forwarded-Proto is {seen['x-forwarded-proto']}")
            expect(not seen.get("forwarded"), f"Forwarded is {seen['forwarded']}")
            expect(seen["x-request-id"] == "mine", "x-request-id did not pass")
            expect(seen["host"].startswith("127.0.0.1"), f"Host is {seen['host']}")
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{programs.logs()}") from error
        finally:
            programs.stop()
            server.shutdown()


@check("the proxies replace the part of the headers that names the address of a caller")
def headers():
    replaces_headers(Programs.nginx, lambda started: connect(started[0], started[2]))
    replaces_headers(Programs.caddy, connect)
