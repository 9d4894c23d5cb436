"""Hooks of schemathesis: which model is called, and what must be true of each answer."""

import json
import re

import schemathesis


@schemathesis.hook
def map_body(context, body):
    """Names a model that exists, most often: a random name is always unknown."""
    if isinstance(body, dict) and len(json.dumps(body, default=str)) % 8:
        # The scripted upstream behind `clever` has no embeddings.
        body["model"] = "good" if context.operation.path == "/embeddings" else "clever"
    return body


@schemathesis.check
def answers_as_documented(context, response, case):
    """Fails when an answer is a server error, is not JSON, or is an error without its message."""
    text = response.content.decode()
    kind = response.headers.get("content-type", [""])[0]
    if kind.startswith("text/event-stream"):
        for line in re.findall(r"^data: (.*)$", text, re.M):
            assert line == "[DONE]" or isinstance(json.loads(line), dict), line
        return
    body = json.loads(text)
    assert kind.startswith("application/json"), kind
    if response.status_code >= 400:
        assert body["error"]["message"] and body["error"]["type"], body
        assert response.status_code < 500, f"{response.status_code}: {body}"
