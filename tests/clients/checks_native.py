"""Checks the official OpenAI library for Python against the gateway, in front of a server that has the Responses API."""

import openai
from harness import KEY, URL, check, main, raises

SEARCH = {"type": "web_search"}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


def client(**options):
    return openai.AsyncOpenAI(base_url=URL, **({"api_key": KEY, "max_retries": 0} | options))


def response(**more):
    return client().responses.create(**({"model": "native", "input": "hello"} | more))


def asked(answer):
    """Returns the request that reached the server."""
    return answer.model_extra["asked"]


@check("the provider's own tool is sent, and its items come back as the server wrote them")
async def _():
    answer = await response(tools=[SEARCH], include=["reasoning.encrypted_content"], metadata={"a": "b"})
    assert [item.type for item in answer.output] == ["reasoning", "web_search_call", "message"]
    assert answer.output[0].encrypted_content == "sealed"
    assert answer.output[1].action.query == "depot"
    assert answer.output[2].content[0].annotations[0].url == "https://example.com"
    assert answer.usage.output_tokens_details.reasoning_tokens == 2
    assert answer.id.startswith("resp_") and answer.id != "resp_of_the_server"
    sent = asked(answer)
    assert (sent["model"], sent["store"], sent["tools"]) == ("native", False, [SEARCH])
    assert (sent["include"], sent["metadata"]) == (["reasoning.encrypted_content"], {"a": "b"})


@check("every event of a stream comes through, in its order, under one id")
async def _():
    stream = await response(tools=[SEARCH], stream=True)
    events = [event async for event in stream]
    names = [event.type.removeprefix("response.") for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert names[:3] == ["created", "in_progress", "output_item.added"], names
    assert "web_search_call.searching" in names and "output_text.annotation.added" in names, names
    ids = {event.response.id for event in events if hasattr(event, "response")}
    assert len(ids) == 1 and "resp_of_the_server" not in ids, ids
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == "Kiruna is cold"
    async with client().responses.stream(model="native", input="hello", tools=[SEARCH]) as stream:
        final = await stream.get_final_response()
    assert final.output_text == "Kiruna is cold"


@check("a response is continued with all of its items, without an id that the server does not know")
async def _():
    for is_stream in (False, True):
        first = await response(tools=[WEATHER], stream=is_stream)
        if is_stream:
            async for event in first:
                first = getattr(event, "response", None)
        call = first.output[1]
        assert (call.call_id, call.arguments) == ("call_1", '{"city": "Kiruna"}')
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "cold"}
        second = await response(previous_response_id=first.id, input=[result], tools=[WEATHER])
        assert second.previous_response_id == first.id and second.output_text == "Kiruna is cold"
        sent = asked(second)
        kinds = [item.get("type", "message") for item in sent["input"]]
        assert kinds == ["message", "reasoning", "function_call", "function_call_output"], kinds
        assert sent["input"][1]["encrypted_content"] == "sealed"


@check("a response is retrieved and deleted")
async def _():
    first = await response(tools=[SEARCH])
    again = await client().responses.retrieve(first.id)
    assert again.output == first.output and again.id == first.id
    await client().responses.delete(first.id)
    await raises(openai.NotFoundError, client().responses.retrieve(first.id), 404)


@check("what the server refuses is the caller's error, with its words and its field")
async def _():
    error = await raises(openai.BadRequestError, response(extra_body={"unheard_of": 1}), 400)
    assert error.param == "unheard_of" and "Unknown parameter" in str(error), error


@check("a response that fails in its middle is never a clean end")
async def _():
    kinds = []
    try:
        async for event in await response(input="fail", stream=True):
            kinds.append(event.type)
    except openai.APIError:
        kinds.append("raised")
    assert kinds[-1] in ("raised", "response.failed") and "response.completed" not in kinds, kinds


main(f"openai {openai.__version__} (native Responses)")
