"""Checks the Responses API of the official OpenAI library for Python against the gateway."""

import openai
from harness import KEY, URL, answers, check, main, raises
from pydantic import BaseModel

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def client(**options):
    return openai.AsyncOpenAI(base_url=URL, **({"api_key": KEY, "max_retries": 0} | options))


def response(model, client_=None, **more):
    return (client_ or client()).responses.create(model=model, **({"input": "hello"} | more))


def asked(answer):
    """Returns the request that reached the scripted upstream."""
    return answer.model_extra["asked"]


@check("a response is answered with text, usage and a request id")
async def _():
    answer = await response("good", instructions="be brief", metadata={"a": "b"}, temperature=0.5)
    assert answer.object == "response" and answer.status == "completed" and answer.id.startswith("resp_")
    assert "hello" in answer.output_text
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert (answer.instructions, answer.metadata, answer.temperature) == ("be brief", {"a": "b"}, 0.5)
    assert answer._request_id.startswith("req_")


@check("the events of a stream come in their order, with numbers that have no gaps")
async def _():
    events = [event async for event in await response("good", stream=True)]
    names = [event.type.removeprefix("response.") for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"], names
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"], names
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].response.output_text == text and "hello" in text
    assert events[-1].response.usage.output_tokens > 0
    async with client().responses.stream(model="good", input="hello") as stream:
        final = await stream.get_final_response()
    assert final.output_text


@check("a bound on the tokens makes a response incomplete")
async def _():
    answer = await response("good", max_output_tokens=1)
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"


MCP = {"type": "mcp", "server_label": "city-data", "require_approval": "never"}


@check("a tool of an MCP server is called by the gateway, and the response can be continued")
async def _():
    answer = await response("clever", tools=[MCP])
    kinds = [item.type for item in answer.output]
    assert kinds == ["mcp_list_tools", "mcp_call", "message"], kinds
    listed, call, _ = answer.output
    assert [tool.name for tool in listed.tools] == ["weather"] and listed.server_label == "city-data"
    assert (call.name, call.server_label, call.status) == ("weather", "city-data", "completed")
    assert (call.arguments, call.output, call.error) == ('{"city": "Kiruna"}', "-12 degrees in Kiruna", None)
    assert answer.output_text == "Hello, good day" and answer.usage.total_tokens == 14
    again = await response("clever", previous_response_id=answer.id, tools=[MCP], tool_choice="none")
    assert again.output_text == "Hello, good day"


@check("a stream reports the list and the call of an MCP server with the types of the library")
async def _():
    events = [event async for event in await response("clever", tools=[MCP], stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    names = [event.type.removeprefix("response.") for event in events]
    steps = [name for name in names if name.startswith("mcp")]
    assert steps == [
        "mcp_list_tools.in_progress", "mcp_list_tools.completed", "mcp_call.in_progress",
        "mcp_call_arguments.delta", "mcp_call_arguments.done", "mcp_call.completed",
    ], steps
    kinds = {event.type: type(event).__name__ for event in events}
    assert kinds["response.mcp_call.completed"] == "ResponseMcpCallCompletedEvent", kinds
    done = next(event for event in events if event.type == "response.mcp_call_arguments.done")
    assert done.arguments == '{"city": "Kiruna"}'
    assert events[-1].response.output[1].output == "-12 degrees in Kiruna"
    async with client().responses.stream(model="clever", input="hello", tools=[MCP]) as stream:
        final = await stream.get_final_response()
    assert final.output_text == "Hello, good day"


@check("a call that needs an approval waits for it, and a server that is not configured is refused")
async def _():
    tool = MCP | {"require_approval": "always"}
    answer = await response("clever", tools=[tool])
    asked_for = answer.output[-1]
    assert (asked_for.type, asked_for.name) == ("mcp_approval_request", "weather")
    decision = {"type": "mcp_approval_response", "approval_request_id": asked_for.id, "approve": True}
    approved = await response("clever", previous_response_id=answer.id, tools=[tool], input=[decision])
    call = approved.output[0]
    assert (call.type, call.approval_request_id, call.output) == ("mcp_call", asked_for.id, "-12 degrees in Kiruna")
    remote = MCP | {"server_url": "http://127.0.0.1:1/mcp"}
    error = await raises(openai.BadRequestError, response("clever", tools=[remote]), 400)
    assert error.param == "tools[0].server_url"


@check("a tool is called, and its result goes back")
async def _():
    answer = await response("tools", tools=[WEATHER], tool_choice="required")
    call = answer.output[0]
    assert (call.type, call.call_id, call.name) == ("function_call", "call_1", "weather")
    assert call.arguments == '{"city": "Kiruna"}'
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "cold"}
    answer = await response("tools", tools=[WEATHER], input=[{"role": "user", "content": "x"}, call.to_dict(), result])
    messages = asked(answer)["messages"]
    assert messages[-1] == {"role": "tool", "tool_call_id": "call_1", "content": "cold"}
    assert messages[-2]["tool_calls"][0]["id"] == "call_1"


@check("a call of a tool is streamed in pieces")
async def _():
    events = [event async for event in await response("tools", tools=[WEATHER], stream=True)]
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(pieces) == '{"city": "Kiruna"}' and len(pieces) > 1
    assert events[-1].response.output[0].arguments == '{"city": "Kiruna"}'


@check("an image and structured output reach a chat backend")
async def _():
    class Answer(BaseModel):
        z: str
        a: str

    image = {"role": "user", "content": [{"type": "input_image", "image_url": PIXEL, "detail": "low"}]}
    text = {"format": {"type": "json_schema", "name": "Answer", "schema": Answer.model_json_schema(), "strict": True}}
    body = asked(await response("tools", input=[image], text=text))
    assert body["messages"][0]["content"][0]["image_url"] == {"url": PIXEL, "detail": "low"}
    assert list(body["response_format"]["json_schema"]["schema"]["properties"]) == ["z", "a"]


@check("a response is retrieved, continued and deleted")
async def _():
    first = await response("tools", instructions="only now")
    again = await client().responses.retrieve(first.id)
    assert again.id == first.id and again.output[0].call_id == "call_1"
    result = {"type": "function_call_output", "call_id": "call_1", "output": "cold"}
    second = await response("tools", previous_response_id=first.id, input=[result])
    roles = [message["role"] for message in asked(second)["messages"]]
    assert roles == ["user", "assistant", "tool"], roles
    assert second.previous_response_id == first.id
    third = await response("tools", previous_response_id=second.id, input="and?", stream=True)
    async for event in third:
        last = event
    assert last.response.previous_response_id == second.id
    await client().responses.delete(first.id)
    await raises(openai.NotFoundError, client().responses.retrieve(first.id), 404)
    error = await raises(openai.NotFoundError, response("good", previous_response_id=first.id), 404)
    assert error.param == "previous_response_id"


@check("one response can be continued in two ways")
async def _():
    first = await response("tools", input="one")
    result = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
    for text in ("left", "right"):
        answer = await response("tools", previous_response_id=first.id, input=[result, {"role": "user", "content": text}])
        said = [message["content"] for message in asked(answer)["messages"] if message["role"] == "user"]
        assert said == ["one", text], said


@check("a response that is not stored cannot be retrieved")
async def _():
    answer = await response("good", store=False)
    await raises(openai.NotFoundError, client().responses.retrieve(answer.id), 404)


@check("an unsupported or wrong field is a BadRequestError that names it")
async def _():
    error = await raises(openai.BadRequestError, response("good", background=True), 400)
    assert error.param == "background", error
    error = await raises(openai.BadRequestError, response("good", tools=[{"type": "web_search"}]), 400)
    assert error.param == "tools[0].type", error


@check("errors are raised as for chats")
async def _():
    await raises(openai.AuthenticationError, response("good", client(api_key="wrong")), 401)
    await raises(openai.NotFoundError, response("nope"), 404)
    await raises(openai.RateLimitError, response("quota", client(max_retries=3)), 429)
    assert answers("quota", 429) == 1
    short = {"extra_headers": {"x-kebne-deadline-ms": "300"}}
    await raises(openai.InternalServerError, response("loading", **short), 503)
    await raises(openai.InternalServerError, response("broken", client(max_retries=3)), 502)


@check("a stream that is lost in its middle is an APIError, never a clean end")
async def _():
    async def read():
        async for _event in await response("cut", stream=True):
            pass

    await raises(openai.APIError, read())


main(f"openai {openai.__version__} (Responses)")
