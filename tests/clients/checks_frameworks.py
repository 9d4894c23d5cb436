"""Checks langchain-openai and litellm against the gateway."""

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no look at the network when it is imported

import langchain_openai
import litellm
import openai
from harness import KEY, ROOT, URL, check, main

litellm.suppress_debug_info = True
HELLO = [{"role": "user", "content": "hello"}]


def chain(model, **more):
    return langchain_openai.ChatOpenAI(model=model, base_url=URL, api_key=KEY, max_retries=0, **more)


def weather(city: str) -> str:
    """Returns the weather."""
    return city


@check("langchain: a chat is answered, whole and streamed")
async def _():
    answer = await chain("good").ainvoke("hello")
    assert "hello" in answer.content and answer.usage_metadata["total_tokens"] > 0
    parts = [part async for part in chain("good", stream_usage=True).astream("hello")]
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert "hello" in total.content and total.usage_metadata["output_tokens"] > 0


@check("langchain: a tool is called")
async def _():
    answer = await chain("tools").bind_tools([weather]).ainvoke("hello")
    assert answer.tool_calls[0]["args"] == {"city": "Kiruna"}


@check("langchain: the Responses API is answered, whole and streamed")
async def _():
    answer = await chain("good", use_responses_api=True).ainvoke("hello")
    assert "hello" in answer.text and answer.usage_metadata["total_tokens"] > 0
    parts = [part.text async for part in chain("good", use_responses_api=True).astream("hello")]
    assert "hello" in "".join(parts)
    answer = await chain("tools", use_responses_api=True).bind_tools([weather]).ainvoke("hello")
    assert answer.tool_calls[0]["args"] == {"city": "Kiruna"}


@check("langchain: structured output and an image, by chats and by responses")
async def _():
    schema = {"title": "place", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    for own in ({}, {"use_responses_api": True}):
        model = chain("clever", **own).with_structured_output(schema, method="json_schema")
        answer = await model.ainvoke([{"role": "user", "content": [image]}])
        assert answer == {"city": "Kiruna"}, answer


@check("langchain: errors have their classes")
async def _():
    # The library's own classes extend those of openai.
    table = [("nope", openai.NotFoundError), ("broken", openai.InternalServerError), ("quota", openai.RateLimitError)]
    for model, kind in table:
        try:
            await chain(model).ainvoke("hello")
        except kind:
            continue
        raise AssertionError(f"{model}: {kind.__name__} was not raised")


def complete(model, base, **more):
    return litellm.acompletion(model=model, messages=HELLO, api_base=base, api_key=KEY, num_retries=0, **more)


@check("litellm: the chat surface is answered, whole and streamed")
async def _():
    answer = await complete("openai/good", URL)
    assert "hello" in answer.choices[0].message.content
    stream = await complete("openai/good", URL, stream=True)
    assert "hello" in "".join([part.choices[0].delta.content or "" async for part in stream])


@check("litellm: the Anthropic surface is answered, whole and streamed")
async def _():
    answer = await complete("anthropic/good", ROOT, max_tokens=100)
    assert "hello" in answer.choices[0].message.content and answer.usage.total_tokens > 0
    stream = await complete("anthropic/good", ROOT, max_tokens=100, stream=True)
    assert "hello" in "".join([part.choices[0].delta.content or "" async for part in stream])
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    answer = await complete("anthropic/tools", ROOT, max_tokens=100, tools=[tool])
    assert answer.choices[0].message.tool_calls[0].function.arguments.replace(" ", "") == '{"city":"Kiruna"}'


@check("litellm: the Responses surface is answered")
async def _():
    answer = await litellm.aresponses(model="openai/good", input="hello", api_base=URL, api_key=KEY)
    assert "hello" in answer.output[0].content[0].text


@check("litellm: errors have their classes")
async def _():
    table = [("openai/nope", URL, litellm.NotFoundError), ("anthropic/nope", ROOT, litellm.NotFoundError),
             ("openai/quota", URL, litellm.RateLimitError), ("anthropic/quota", ROOT, litellm.RateLimitError)]
    for model, base, kind in table:
        try:
            await complete(model, base, max_tokens=9)
        except kind:
            continue
        raise AssertionError(f"{model}: {kind.__name__} was not raised")


main("langchain-openai and litellm")
