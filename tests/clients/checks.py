"""Checks the chats of the official OpenAI library for Python against the gateway."""

import asyncio
import os
import re
import sys
import time
import urllib.request

import openai
from pydantic import BaseModel

URL, KEY = os.environ["KEBNE_URL"], os.environ["KEBNE_KEY"]
HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
STRICT = [{"type": "function", "function": {"name": "weather", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CHECKS = []


class Place(BaseModel):
    city: str



def client(**options):
    return openai.AsyncOpenAI(base_url=URL, **({"api_key": KEY, "max_retries": 0} | options))


def check(sentence):
    def add(function):
        CHECKS.append((sentence, function))
        return function

    return add


def answers(model, status):
    """How often the gateway answered so."""
    request = urllib.request.Request(URL.removesuffix("/v1") + "/metrics", headers={"authorization": f"Bearer {KEY}"})
    text = urllib.request.urlopen(request).read().decode()
    line = re.search(rf'^kebne_answers_total{{model="{model}",status="{status}"}} (\d+)$', text, re.M)
    return int(line.group(1)) if line else 0


async def raises(kind, call, status=None, code=None):
    try:
        await call
    except kind as error:
        assert type(error) is kind, f"{type(error)} is not {kind}"
        if status is not None:
            assert error.status_code == status, error
            assert error.request_id.startswith("req_"), error.request_id
        if code is not None:
            assert error.code == code, (error.code, error)
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def chat(model, client_=None, **more):
    return (client_ or client()).chat.completions.create(model=model, messages=HELLO, **more)


@check("a chat is answered with text, usage and a request id")
async def _():
    answer = await chat("good")
    assert "hello" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer._request_id.startswith("req_")


@check("a stream is the same text in pieces and ends")
async def _():
    text, reasons = "", []
    async for chunk in await chat("good", stream=True):
        text += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
    assert "hello" in text and reasons[-1] == "stop" and len(reasons) > 3


@check("a stream tells its usage when it is asked to")
async def _():
    chunks = [chunk async for chunk in await chat("good", stream=True, stream_options={"include_usage": True})]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0


@check("tools and unknown fields pass through, both ways")
async def _():
    answer = await chat("tools", tools=TOOLS, extra_body={"nobody_knows": {"this": [1, 2.5]}})
    call = answer.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city": "Kiruna"}')
    asked = answer.model_extra["asked"]
    assert asked["tools"] == TOOLS and asked["nobody_knows"] == {"this": [1, 2.5]} and asked["messages"] == HELLO


@check("a call of a tool is streamed in pieces")
async def _():
    arguments = ""
    async for chunk in await chat("tools", stream=True, tools=TOOLS):
        for call in chunk.choices[0].delta.tool_calls or []:
            arguments += call.function.arguments
    assert arguments == '{"city": "Kiruna"}', arguments


@check("an image and a sound reach the backend as they are")
async def _():
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    parts = [{"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}, sound]
    messages = [{"role": "user", "content": parts}]
    answer = await client().chat.completions.create(model="tools", messages=messages)
    assert answer.model_extra["asked"]["messages"] == messages


@check("structured output is asked for and read, whole and streamed")
async def _():
    own = {"model": "clever", "messages": HELLO, "response_format": Place}
    answer = await client().chat.completions.parse(**own)
    assert answer.choices[0].message.parsed == Place(city="Kiruna")
    form = answer.model_extra["asked"]["response_format"]
    assert form["json_schema"]["strict"] is True and list(form["json_schema"]["schema"]["properties"]) == ["city"]
    async with client().chat.completions.stream(**own) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == Place(city="Kiruna")


@check("the events of a stream are those of the library's helper, in their order")
async def _():
    async with client().chat.completions.stream(model="clever", messages=HELLO, tools=STRICT) as stream:
        kinds = [event.type async for event in stream if event.type != "chunk"]
    arguments = "tool_calls.function.arguments."
    assert kinds == [arguments + "delta"] * (len(kinds) - 1) + [arguments + "done"] and len(kinds) > 2, kinds
    async with client().chat.completions.stream(model="clever", messages=HELLO) as stream:
        kinds = [event.type async for event in stream if event.type != "chunk"]
    assert kinds == ["content.delta"] * 3 + ["content.done"], kinds


@check("completions and embeddings are answered")
async def _():
    completion = await client().completions.create(model="good", prompt="hello")
    assert "hello" in completion.choices[0].text
    embedding = await client().embeddings.create(model="good", input=["a", "b"], encoding_format="float")
    assert len(embedding.data) == 2 and embedding.data[0].embedding


@check("models are listed and found")
async def _():
    names = [model.id async for model in client().models.list()]
    assert names[0] == "good" and "tools" in names
    assert (await client().models.retrieve("good")).id == "good"
    await raises(openai.NotFoundError, client().models.retrieve("nope"), 404, "model_not_found")


@check("a session remembers what was said")
async def _():
    session = await client().post("/sessions", body={}, cast_to=object)
    own = {"extra_headers": {"x-kebne-session": session["id"]}}
    await chat("good", **own)
    async for _chunk in await chat("good", stream=True, **own):
        pass
    turns = await client().get(f"/sessions/{session['id']}/turns", cast_to=object)
    assert [turn["messages"][0]["content"] for turn in turns["data"]] == ["hello", "hello"]
    other = {"extra_headers": {"x-kebne-session": "sess_none"}}
    await raises(openai.NotFoundError, chat("good", **other), 404, "session_not_found")


@check("a wrong key is an AuthenticationError")
async def _():
    await raises(openai.AuthenticationError, chat("good", client(api_key="wrong")), 401, "invalid_api_key")


@check("a key that may not call is a PermissionDeniedError")
async def _():
    await raises(openai.PermissionDeniedError, chat("good", client(api_key=os.environ["KEBNE_READER"])), 403)


@check("a body that is too large is status 413, also while it is still being sent")
async def _():
    large = {"extra_body": {"padding": "x" * (17 << 20)}}
    await raises(openai.APIStatusError, chat("good", **large), 413)


@check("an unknown model is a NotFoundError")
async def _():
    error = await raises(openai.NotFoundError, chat("nope"), 404, "model_not_found")
    assert error.param == "model"


@check("a wrong field is a BadRequestError that names it")
async def _():
    error = await raises(openai.BadRequestError, chat("good", extra_body={"stream": "yes"}), 400)
    assert error.param == "stream"


@check("a full queue is a RateLimitError, tried again after the hint and then given up")
async def _():
    busy = asyncio.create_task(chat("full", extra_headers={"x-kebne-deadline-ms": "60000"}))
    await asyncio.sleep(0.5)
    before, since = answers("full", 429), time.monotonic()
    await raises(openai.RateLimitError, chat("full", client(max_retries=2)), 429, "queue_full")
    assert answers("full", 429) - before == 3
    assert time.monotonic() - since >= 0.2, "two hints of at least 100 ms"
    busy.cancel()


@check("a used-up quota is a RateLimitError that is not tried again")
async def _():
    await raises(openai.RateLimitError, chat("quota", client(max_retries=3)), 429, "insufficient_quota")
    assert answers("quota", 429) == 1


@check("what the backend refuses with 409 or 422 has the library's class and the backend's words")
async def _():
    for status, kind, words in [(409, openai.ConflictError, "another call"), (422, openai.UnprocessableEntityError, "must be 1")]:
        messages = [{"role": "user", "content": str(status)}]
        error = await raises(kind, client().chat.completions.create(model="refusing", messages=messages), status)
        assert words in str(error), error


@check("a loading model is an InternalServerError with status 503")
async def _():
    short = {"extra_headers": {"x-kebne-deadline-ms": "300"}}
    await raises(openai.InternalServerError, chat("loading", **short), 503, "model_loading")


@check("a client that follows the hints finds a cold model ready")
async def _():
    since = time.monotonic()
    short = {"extra_headers": {"x-kebne-deadline-ms": "300"}}
    answer = await chat("cold", client(max_retries=4), **short)
    assert answer.choices[0].message.content
    assert time.monotonic() - since >= 1 and answers("cold", 503) >= 1


@check("a client that can wait is held while the model loads")
async def _():
    answer = await chat("cold-too")
    assert answer.choices[0].message.content and answers("cold-too", 503) == 0


@check("a backend that is too slow is status 504 and not tried again")
async def _():
    await raises(openai.InternalServerError, chat("slow", client(max_retries=3)), 504, "upstream_timeout")
    assert answers("slow", 504) == 1


@check("a backend that fails is status 502 and not tried again")
async def _():
    await raises(openai.InternalServerError, chat("broken", client(max_retries=3)), 502, "upstream_error")
    assert answers("broken", 502) == 1


@check("a client's own timeout is an APITimeoutError")
async def _():
    patient = {"extra_headers": {"x-kebne-deadline-ms": "60000"}}
    await raises(openai.APITimeoutError, chat("silent", client(timeout=0.5), **patient))


@check("a gateway that is not there is an APIConnectionError")
async def _():
    nobody = openai.AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key=KEY, max_retries=0)
    await raises(openai.APIConnectionError, chat("good", nobody))


@check("a stream that is lost in its middle is an APIError, never a clean end")
async def _():
    async def read():
        async for _chunk in await chat("cut", stream=True):
            pass

    await raises(openai.APIError, read())


async def main():
    failed = 0
    for sentence, function in CHECKS:
        try:
            await asyncio.wait_for(function(), 60)
            print(f"  ok      {sentence}", flush=True)
        except Exception as error:  # each check is reported
            failed += 1
            print(f"  FAILED  {sentence}: {error!r}", flush=True)
    print(f"  {len(CHECKS) - failed} of {len(CHECKS)} checks passed with openai {openai.__version__}")
    sys.exit(bool(failed))


asyncio.run(main())
