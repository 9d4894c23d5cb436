"""Checks the official Anthropic library for Python against the gateway."""

import asyncio
import os
import time

import anthropic
from harness import KEY, ROOT, answers, check, main, raises

HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def client(**options):
    return anthropic.AsyncAnthropic(base_url=ROOT, **({"api_key": KEY, "max_retries": 0} | options))


def message(model, client_=None, **more):
    more = {"max_tokens": 200, "messages": HELLO} | more
    return (client_ or client()).messages.create(model=model, **more)


def asked(answer):
    """Returns the request that reached the scripted upstream."""
    return answer.model_extra["asked"]


@check("a message is answered with text, usage and a request id")
async def _():
    answer = await message("good")
    assert answer.type == "message" and answer.role == "assistant" and answer.stop_reason == "end_turn"
    assert "hello" in answer.content[0].text
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer._request_id.startswith("req_"), answer._request_id


@check("a key is accepted as x-api-key and as a bearer token")
async def _():
    await message("good", anthropic.AsyncAnthropic(base_url=ROOT, api_key=None, auth_token=KEY, max_retries=0))


@check("the events of a stream come in their order and are the whole message")
async def _():
    names = []
    async for event in await message("good", stream=True):
        if event.type != names[-1:]:
            names.append(event.type)
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"], names
    assert names[1] == "content_block_start" and "content_block_delta" in names and names[-3] == "content_block_stop"
    async with client().messages.stream(model="good", max_tokens=200, messages=HELLO) as stream:
        text = "".join([part async for part in stream.text_stream])
        final = await stream.get_final_message()
    assert final.content[0].text == text and "hello" in text
    assert final.stop_reason == "end_turn" and final.usage.output_tokens > 0 and final.usage.input_tokens > 0


@check("a bound on the tokens is the reason to stop")
async def _():
    answer = await message("good", max_tokens=1)
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 1


@check("system, stop sequences, sampling and unknown fields reach a chat backend")
async def _():
    answer = await message("tools", system="be brief", stop_sequences=["END"], tools=[WEATHER],
                           extra_body={"temperature": 0.5, "top_k": 3, "min_p": 0.1})
    body = asked(answer)
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    assert (body["stop"], body["temperature"], body["top_k"], body["min_p"]) == (["END"], 0.5, 3, 0.1)
    assert body["max_tokens"] == 200


@check("a tool is called, and its result goes back")
async def _():
    answer = await message("tools", tools=[WEATHER], tool_choice={"type": "any"})
    call = answer.content[0]
    assert (call.type, call.id, call.name, call.input) == ("tool_use", "call_1", "weather", {"city": "Kiruna"})
    assert answer.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "cold"}
    turns = HELLO + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    body = asked(await message("tools", tools=[WEATHER], messages=turns))
    assert body["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "cold"}
    assert body["messages"][-2]["tool_calls"][0]["function"]["name"] == "weather"
    assert body["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]


@check("a call of a tool is streamed in pieces")
async def _():
    async with client().messages.stream(model="tools", max_tokens=9, messages=HELLO, tools=[WEATHER]) as stream:
        pieces = [event.partial_json async for event in stream if event.type == "input_json"]
        final = await stream.get_final_message()
    assert "".join(pieces) == '{"city": "Kiruna"}' and len(pieces) > 1
    assert final.content[0].input == {"city": "Kiruna"} and final.stop_reason == "tool_use"


@check("an image and a document reach a chat backend")
async def _():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    body = asked(await message("tools", messages=[{"role": "user", "content": [image, pdf]}]))
    parts = body["messages"][0]["content"]
    assert parts[0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert parts[1]["file"]["file_data"] == "data:application/pdf;base64,JVBERi0="


@check("structured output reaches a chat backend")
async def _():
    schema = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}}
    answer = await message("tools", output_config={"format": {"type": "json_schema", "schema": schema}})
    sent = asked(answer)["response_format"]
    assert sent["type"] == "json_schema" and list(sent["json_schema"]["schema"]["properties"]) == ["z", "a"]


@check("a backend of Anthropic's gets the request as it is, and its answer comes back as it is")
async def _():
    tool = WEATHER | {"cache_control": {"type": "ephemeral"}}
    answer = await message("claude", tools=[tool], thinking={"type": "enabled", "budget_tokens": 1024})
    body = asked(answer)
    assert body["tools"] == [tool] and body["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert body["model"] == "claude-upstream"
    assert answer.content[0].type == "thinking" and answer.content[0].signature == "signed"
    async with client().messages.stream(model="claude", max_tokens=9, messages=HELLO) as stream:
        final = await stream.get_final_message()
    assert final.content[0].signature == "signed" and final.content[1].input == {"city": "Kiruna"}


@check("tokens are counted without a call")
async def _():
    count = await client().messages.count_tokens(model="good", messages=HELLO, system="be brief")
    more = await client().messages.count_tokens(model="good", messages=HELLO * 10, system="be brief")
    assert 0 < count.input_tokens < more.input_tokens


@check("a wrong key is an AuthenticationError")
async def _():
    error = await raises(anthropic.AuthenticationError, message("good", client(api_key="wrong")), 401)
    assert error.type == "authentication_error"


@check("a key that may not call is a PermissionDeniedError")
async def _():
    reader = client(api_key=os.environ["KEBNE_READER"])
    error = await raises(anthropic.PermissionDeniedError, message("good", reader), 403)
    assert error.type == "permission_error"


@check("a body that is too large is a RequestTooLargeError, also while it is still being sent")
async def _():
    large = {"extra_body": {"padding": "x" * (17 << 20)}}
    error = await raises(anthropic.RequestTooLargeError, message("good", **large), 413)
    assert error.type == "request_too_large"


@check("an unknown model is a NotFoundError")
async def _():
    error = await raises(anthropic.NotFoundError, message("nope"), 404)
    assert error.type == "not_found_error"


@check("a missing or unsupported field is a BadRequestError that names it")
async def _():
    error = await raises(anthropic.BadRequestError, message("good", max_tokens=0), 400)
    assert "max_tokens" in error.api_message and error.type == "invalid_request_error"
    search = {"type": "web_search_20250305", "name": "web_search"}
    error = await raises(anthropic.BadRequestError, message("good", tools=[search]), 400)
    assert "tools[0].type" in error.api_message


@check("a full queue is a RateLimitError, tried again after the hint and then given up")
async def _():
    busy = asyncio.create_task(message("full", extra_headers={"x-kebne-deadline-ms": "60000"}))
    await asyncio.sleep(0.5)
    before, since = answers("full", 429), time.monotonic()
    error = await raises(anthropic.RateLimitError, message("full", client(max_retries=2)), 429)
    assert error.type == "rate_limit_error"
    assert answers("full", 429) - before == 3
    assert time.monotonic() - since >= 0.2, "two hints of at least 100 ms"
    busy.cancel()


@check("a used-up quota is a RateLimitError that is not tried again")
async def _():
    await raises(anthropic.RateLimitError, message("quota", client(max_retries=3)), 429)
    assert answers("quota", 429) == 1


@check("what the backend refuses with 409 or 422 has the library's class")
async def _():
    for status, kind in [(409, anthropic.ConflictError), (422, anthropic.UnprocessableEntityError)]:
        await raises(kind, message("refusing", messages=[{"role": "user", "content": str(status)}]), status)


@check("a loading model is an OverloadedError with status 529")
async def _():
    short = {"extra_headers": {"x-kebne-deadline-ms": "300"}}
    error = await raises(anthropic.OverloadedError, message("loading", **short), 529)
    assert error.type == "overloaded_error"


@check("a client that follows the hints finds a cold model ready")
async def _():
    short = {"extra_headers": {"x-kebne-deadline-ms": "300"}}
    answer = await message("cold", client(max_retries=4), **short)
    assert answer.content[0].text and answers("cold", 529) >= 1


@check("a client that can wait is held while the model loads, and its stream is kept alive")
async def _():
    async with client().messages.stream(model="cold-too", max_tokens=20, messages=HELLO) as stream:
        final = await stream.get_final_message()
    assert final.content[0].text and answers("cold-too", 529) == 0


@check("a backend that is too slow is status 504 and not tried again")
async def _():
    await raises(anthropic.DeadlineExceededError, message("slow", client(max_retries=3)), 504)
    assert answers("slow", 504) == 1


@check("a backend that fails is an InternalServerError and not tried again")
async def _():
    error = await raises(anthropic.InternalServerError, message("broken", client(max_retries=3)), 502)
    assert error.type == "api_error" and answers("broken", 502) == 1


@check("a stream that is lost in its middle is an error, never a clean end")
async def _():
    async def read():
        async for _event in await message("cut", stream=True):
            pass

    try:
        await read()
    except anthropic.APIStatusError as error:
        assert error.type == "api_error", error
        return
    raise AssertionError("no error was raised")


main(f"anthropic {anthropic.__version__}")
