"""Checks kept answers with the official OpenAI library for Python against the gateway."""

import os
import sys
import time

import openai

URL, KEY = os.environ["KEBNE_URL"], os.environ["KEBNE_KEY"]
QUESTION = {"model": "kept", "temperature": 0, "messages": [{"role": "user", "content": "Good day?"}]}
CHECKS = []


def check(sentence):
    def add(function):
        CHECKS.append((sentence, function))
        return function

    return add


client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)


def streamed(**more):
    """Returns the outcome that the header names, and the chunks."""
    answer = client.chat.completions.with_raw_response.create(**QUESTION, stream=True, **more)
    return answer.headers["x-kebne-cache"], list(answer.parse()), answer.headers.get("age")


def until_hit(call):
    """An answer is kept after it was sent."""
    for _ in range(100):
        outcome, *rest = call()
        if outcome == "hit":
            return rest
        time.sleep(0.05)
    raise AssertionError("it is not kept")


@check("a kept stream has the same chunks, and the usage if it is asked for")
def _():
    outcome, first, age = streamed()
    assert outcome == "miss" and age is None, outcome
    kept, age = until_hit(streamed)
    assert [chunk.to_dict() for chunk in kept] == [chunk.to_dict() for chunk in first]
    assert kept[-1].choices[0].finish_reason == "stop" and int(age) < 60, kept
    usage = {"stream_options": {"include_usage": True}}
    outcome, first, _ = streamed(**usage)
    assert outcome == "miss", outcome
    kept, _ = until_hit(lambda: streamed(**usage))
    assert kept[-1].usage.total_tokens == first[-1].usage.total_tokens == 7, kept


@check("a kept answer is the same answer")
def _():
    def whole():
        answer = client.chat.completions.with_raw_response.create(**QUESTION)
        return answer.headers["x-kebne-cache"], answer.parse()

    outcome, first = whole()
    assert outcome == "miss", outcome
    [kept] = until_hit(whole)
    assert kept.to_dict() == first.to_dict()


@check("a caller that wants a kept answer only is told if there is none")
def _():
    try:
        client.chat.completions.create(**QUESTION, seed=7, extra_headers={"cache-control": "only-if-cached"})
    except openai.APIStatusError as error:
        assert error.status_code == 504 and error.code == "not_cached", error
    else:
        raise AssertionError("it was kept")


failures = 0
for sentence, function in CHECKS:
    try:
        function()
        print(f"  ok      {sentence}", flush=True)
    except Exception as error:  # each check is reported
        failures += 1
        print(f"  FAILED  {sentence}: {error!r}", flush=True)
print(f"  {len(CHECKS) - failures} of {len(CHECKS)} checks passed with openai {openai.__version__}")
sys.exit(bool(failures))
