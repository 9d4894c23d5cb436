"""A server of the Responses API that keeps to the types of the official package.

It validates each request against the package's parameter types and each answer against its response and event types, so it
neither takes nor says what the official server would not. A request with a web search gets reasoning, the search and a
text that cites it; a request with a function gets a call; an input `fail` gets a response that fails in its middle.
"""

import json

from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import (ResponseCreateParamsNonStreaming,
                                                           ResponseCreateParamsStreaming)
from pydantic import TypeAdapter, ValidationError

WHOLE, STREAMED = TypeAdapter(ResponseCreateParamsNonStreaming), TypeAdapter(ResponseCreateParamsStreaming)
EVENT = TypeAdapter(ResponseStreamEvent)
KNOWN = set(ResponseCreateParamsNonStreaming.__annotations__)
for base in ResponseCreateParamsNonStreaming.__orig_bases__:
    KNOWN |= set(base.__annotations__)
USAGE = {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0}, "output_tokens": 4,
         "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 7}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "depot"}}
CITED = {"type": "url_citation", "start_index": 0, "end_index": 5, "url": "https://example.com", "title": "Depot"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Kiruna"}',
        "status": "completed"}


class Refused(Exception):
    """A request that the official server refuses."""


def checked(asked):
    """Raises `Refused` if a request does not have the official types, or names what this server has not stored."""
    unknown = set(asked) - KNOWN - {"model", "input", "stream"}
    if unknown:
        raise Refused(f"Unknown parameter: '{sorted(unknown)[0]}'.", sorted(unknown)[0])
    if "previous_response_id" in asked:
        raise Refused("Previous response not found.", "previous_response_id")
    try:
        (STREAMED if asked.get("stream") else WHOLE).validate_python(asked, strict=False)
    except ValidationError as error:
        raise Refused(str(error), ".".join(map(str, error.errors()[0]["loc"]))) from error


def text_item(cites):
    part = {"type": "output_text", "text": "Kiruna is cold", "annotations": [CITED] if cites else [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def items(asked):
    tools = [tool["type"] for tool in asked.get("tools", [])]
    given = asked["input"]
    has_result = isinstance(given, list) and any(item.get("type") == "function_call_output" for item in given)
    if "web_search" in tools:
        return [REASONING, SEARCH, text_item(True)]
    return [REASONING, CALL] if "function" in tools and not has_result else [text_item(False)]


def resource(asked, status, output, **more):
    answer = {
        "id": "resp_of_the_server", "object": "response", "created_at": 1, "status": status, "model": asked["model"],
        "output": output, "parallel_tool_calls": True, "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []), "error": None, "incomplete_details": None, "instructions": asked.get("instructions"),
        "metadata": asked.get("metadata", {}), "temperature": 1.0, "top_p": 1.0, "store": False,
        "usage": USAGE if status == "completed" else None,
    } | more
    Response.model_validate(answer)
    return answer | {"asked": asked}


def whole(asked):
    """Returns the whole answer of a request."""
    return resource(asked, "completed", items(asked))


def events(asked):
    """Yields the events of a streamed answer."""
    numbers = iter(range(1000))

    def event(kind, **data):
        data = {"type": kind, "sequence_number": next(numbers)} | data
        EVENT.validate_python({key: value for key, value in data.items()})
        return f"event: {kind}\ndata: {json.dumps(data)}"

    started = resource(asked, "in_progress", [])
    yield event("response.created", response=started)
    yield event("response.in_progress", response=started)
    if asked["input"] == "fail":
        error = {"code": "server_error", "message": "the model failed"}
        yield event("response.failed", response=resource(asked, "failed", [], error=error))
        return
    for index, item in enumerate(items(asked)):
        place = {"output_index": index, "item_id": item["id"]}
        yield from item_events(event, item, index, place)
    yield event("response.completed", response=whole(asked))


def item_events(event, item, index, place):
    begun = item | {"status": "in_progress"}
    if item["type"] == "reasoning":
        begun = item
    elif item["type"] == "message":
        begun |= {"content": []}
    elif item["type"] == "function_call":
        begun |= {"arguments": ""}
    yield event("response.output_item.added", output_index=index, item=begun)
    if item["type"] == "web_search_call":
        for step in ("in_progress", "searching", "completed"):
            yield event(f"response.web_search_call.{step}", **place)
    elif item["type"] == "function_call":
        for piece in ('{"city": ', '"Kiruna"}'):
            yield event("response.function_call_arguments.delta", delta=piece, **place)
        yield event("response.function_call_arguments.done", arguments=item["arguments"], name=item["name"], **place)
    elif item["type"] == "message":
        part = item["content"][0]
        place = place | {"content_index": 0}
        yield event("response.content_part.added", part=part | {"text": "", "annotations": []}, **place)
        for piece in ("Kiruna ", "is ", "cold"):
            yield event("response.output_text.delta", delta=piece, logprobs=[], **place)
        for number, annotation in enumerate(part["annotations"]):
            yield event("response.output_text.annotation.added", annotation=annotation, annotation_index=number, **place)
        yield event("response.output_text.done", text=part["text"], logprobs=[], **place)
        yield event("response.content_part.done", part=part, **place)
    yield event("response.output_item.done", output_index=index, item=item)
