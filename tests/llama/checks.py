"""Checks llama.cpp's server behind the gateway, through each of the three surfaces."""

import asyncio
import json
import os
import urllib.request

import anthropic
import openai
from harness import KEY, ROOT, URL, check, main, raises

LLAMA = os.environ["LLAMA_URL"]
ASK = [{"role": "user", "content": "What is the weather in Kiruna?"}]
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHOICE = {"type": "object", "properties": {"city": {"enum": ["Kiruna", "Abisko"]}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tells the weather of a city", "parameters": PLACE}
TOOL = {"name": "weather", "description": "Tells the weather of a city", "input_schema": PLACE}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOO_LONG = "word " * 3000
# The names of the two backends: llama.cpp's chat and its own Messages.
KINDS = ["chat", "messages"]

openai_client = openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0)
anthropic_client = anthropic.AsyncAnthropic(base_url=ROOT, api_key=KEY, max_retries=0)


def chat(model="chat", **more):
    more = {"messages": ASK, "max_tokens": 60, "temperature": 0} | more
    return openai_client.chat.completions.create(model=model, **more)


def message(model="chat", **more):
    more = {"messages": ASK, "max_tokens": 60, "extra_body": {"temperature": 0}} | more
    return anthropic_client.messages.create(model=model, **more)


def message_stream(model="chat", **more):
    more = {"messages": ASK, "max_tokens": 60, "extra_body": {"temperature": 0}} | more
    return anthropic_client.messages.stream(model=model, **more)


def response(**more):
    more = {"model": "chat", "input": ASK[0]["content"], "max_output_tokens": 60, "temperature": 0} | more
    return openai_client.responses.create(**more)


@check("a call that comes before the server listens is held and answered")
async def _():
    answer = await chat()
    assert answer.choices[0].message.content


@check("a summary of a session is made in the background and sent with its next call")
async def _():
    session = await openai_client.post("/sessions", body={}, cast_to=object)
    header = {"x-kebne-session": session["id"]}
    path = f"/sessions/{session['id']}"
    for number in range(6):
        text = f"I have {number + 2} dogs in Kiruna. " + "They like to run in the snow every day. " * 5
        await chat(messages=[{"role": "user", "content": text}], max_tokens=20, extra_headers=header)
    for _ in range(600):
        summaries = (await openai_client.get(f"{path}/summaries", cast_to=object))["data"]
        if summaries:
            break
        await asyncio.sleep(0.2)
    assert summaries and summaries[-1]["through"] >= 2 and summaries[-1]["text"].strip(), summaries
    question = [{"role": "user", "content": "How many dogs do I have?"}]
    raw = await openai_client.chat.completions.with_raw_response.create(
        model="chat", messages=question, max_tokens=20, extra_headers=header
    )
    assert int(raw.headers["x-kebne-summary-turns"]) >= 2, dict(raw.headers)
    assert int(raw.headers["x-kebne-history-turns"]) >= 1
    found = await openai_client.post(f"{path}/search", body={"query": "dogs", "limit": 2}, cast_to=object)
    assert len(found["data"]) == 2, found
    # Its slots are free again when the other checks count them.
    for _ in range(600):
        with urllib.request.urlopen(f"{ROOT}/state") as state:
            memory = json.load(state)["memory"]
        if memory["waiting"] + memory["running"] == 0:
            break
        await asyncio.sleep(0.2)


@check("chat: whole, with usage, log probabilities and what only this server tells")
async def _():
    answer = await chat(logprobs=True, max_tokens=5)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 5
    assert len(answer.choices[0].logprobs.content) == 5
    assert answer.model_extra["timings"]["predicted_n"] == 5


@check("chat: streamed, with usage")
async def _():
    chunks = [chunk async for chunk in await chat(stream=True, max_tokens=5, stream_options={"include_usage": True})]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text and chunks[-2].choices[0].finish_reason == "length" and chunks[-1].usage.completion_tokens == 5


@check("chat: a tool is called, whole and streamed, and its result is answered")
async def _():
    tools = {"tools": [{"type": "function", "function": FUNCTION}]}
    answer = (await chat(**tools, tool_choice="required")).choices[0]
    call = answer.message.tool_calls[0]
    assert answer.finish_reason == "tool_calls" and call.function.name == "weather"
    assert "city" in json.loads(call.function.arguments)
    arguments = ""
    async for chunk in await chat(**tools, tool_choice="required", stream=True):
        for piece in chunk.choices[0].delta.tool_calls or []:
            arguments += piece.function.arguments
    assert "city" in json.loads(arguments)
    turns = ASK + [answer.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "cold"}]
    assert (await chat(**tools, tool_choice="none", messages=turns)).choices[0].message.content


@check("chat: structured output keeps to its schema")
async def _():
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": CHOICE}}
    answer = await chat(response_format=form)
    assert json.loads(answer.choices[0].message.content)["city"] in ("Kiruna", "Abisko")


for kind in KINDS:

    @check(f"messages on {kind}: whole and streamed, with usage")
    async def _(kind=kind):
        answer = await message(kind, max_tokens=5)
        assert answer.content[0].text and answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 5
        async with message_stream(kind, max_tokens=5) as stream:
            text = "".join([part async for part in stream.text_stream])
            final = await stream.get_final_message()
        assert final.content[0].text == text != "" and final.usage.output_tokens == 5

    @check(f"messages on {kind}: a tool is called, whole and streamed, and its result is answered")
    async def _(kind=kind):
        tools = {"tools": [TOOL], "tool_choice": {"type": "any"}}
        answer = await message(kind, **tools)
        call = answer.content[-1]
        assert call.type == "tool_use" and call.name == "weather" and "city" in call.input
        assert answer.stop_reason == "tool_use"
        async with message_stream(kind, **tools) as stream:
            final = await stream.get_final_message()
        assert "city" in final.content[-1].input and final.stop_reason == "tool_use"
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "cold"}
        turns = ASK + [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        # Without the tool: the server's own Messages do not keep to `tool_choice: none`.
        assert (await message(kind, messages=turns)).content[0].text


@check("messages: structured output keeps to its schema")
async def _():
    answer = await message(output_config={"format": {"type": "json_schema", "schema": CHOICE}})
    assert json.loads(answer.content[0].text)["city"] in ("Kiruna", "Abisko")


@check("responses: whole and streamed, with usage")
async def _():
    answer = await response(max_output_tokens=16)
    assert answer.output_text and answer.usage.output_tokens > 0
    events = [event async for event in await response(max_output_tokens=16, stream=True)]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].response.output_text == text != ""
    assert [event.sequence_number for event in events] == list(range(len(events)))


@check("responses: a tool is called, whole and streamed, and its result continues the response")
async def _():
    tools = {"tools": [{"type": "function"} | FUNCTION]}
    answer = await response(**tools, tool_choice="required")
    call = answer.output[-1]
    assert call.type == "function_call" and "city" in json.loads(call.arguments)
    events = [event async for event in await response(**tools, tool_choice="required", stream=True)]
    assert "city" in json.loads(events[-1].response.output[-1].arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "cold"}
    assert (await response(**tools, tool_choice="none", input=[result], previous_response_id=answer.id)).output_text


@check("responses: a file is searched, and what was found is in the prompt and the answer")
async def _():
    text = b"# Lakes\n\nThe lake Tornetrask is 70 kilometres long and freezes in December."
    store = await openai_client.vector_stores.create(name="north")
    batch = await openai_client.vector_stores.file_batches.upload_and_poll(store.id, files=[("lake.md", text)], poll_interval_ms=50)
    assert batch.file_counts.completed == 1, batch
    tool = {"type": "file_search", "vector_store_ids": [store.id]}
    question = "How long is the lake Tornetrask? Cite the excerpt."
    plain = await response(input=question)
    answer = await response(input=question, tools=[tool], include=["file_search_call.results"])
    call, said = answer.output[0], answer.output[-1]
    assert call.type == "file_search_call" and call.results[0].filename == "lake.md", call
    assert said.type == "message" and said.content[0].text, said
    assert answer.usage.input_tokens > plain.usage.input_tokens + 20, (answer.usage, plain.usage)
    for cited in said.content[0].annotations:
        assert cited.filename == "lake.md" and said.content[0].text[cited.index] == "[", cited
    events = [event async for event in await response(input=question, tools=[tool], stream=True)]
    assert [item.type for item in events[-1].response.output][0] == "file_search_call", events[-1]
    assert [event.sequence_number for event in events] == list(range(len(events)))


@check("responses: structured output keeps to its schema")
async def _():
    form = {"type": "json_schema", "name": "place", "schema": CHOICE}
    answer = await response(text={"format": form})
    assert json.loads(answer.output_text)["city"] in ("Kiruna", "Abisko")


@check("a prompt that is longer than the context is the caller's error on each surface")
async def _():
    long = [{"role": "user", "content": TOO_LONG}]
    error = await raises(openai.BadRequestError, chat(messages=long), 400)
    assert "context" in error.message, error
    await raises(openai.BadRequestError, response(input=TOO_LONG), 400)
    for kind in KINDS:
        error = await raises(anthropic.BadRequestError, message(kind, messages=long), 400)
        assert "context" in error.api_message, error


@check("an image that the model cannot take is the caller's error on each surface, once")
async def _():
    url = f"data:image/png;base64,{PIXEL}"
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    error = await raises(openai.BadRequestError, chat(messages=image), 400)
    assert "image input is not supported" in error.message, error
    item = {"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "low"}]}
    await raises(openai.BadRequestError, response(input=[item]), 400)
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    image = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    for kind in KINDS:
        error = await raises(anthropic.BadRequestError, message(kind, messages=image), 400)
        assert "image input is not supported" in error.api_message, error
    for _ in range(6):  # The lane is as healthy as before.
        await raises(openai.BadRequestError, chat(messages=[{"role": "user", "content": TOO_LONG}]), 400)
    assert (await chat()).choices[0].message.content


@check("an operation that the server does not have is refused with its words")
async def _():
    for call in (openai_client.embeddings.create(model="chat", input="x"),
                 openai_client.post("/rerank", body={"model": "chat", "query": "x", "documents": ["a"]}, cast_to=object)):
        error = await raises(openai.InternalServerError, call, 501)
        assert "not support" in error.message, error


@check("a caller who leaves frees the server's slot")
async def _():
    stream = await chat(stream=True, max_tokens=900, extra_body={"ignore_eos": True})
    await stream.__anext__()
    await stream.close()
    for _ in range(30):
        slots = json.load(urllib.request.urlopen(LLAMA + "/slots"))
        if not any(slot["is_processing"] for slot in slots):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("a slot is still busy after 3 s")


main("llama.cpp")
