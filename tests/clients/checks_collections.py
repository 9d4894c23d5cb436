"""Checks files and vector stores of the official OpenAI library for Python against the gateway."""

import json
import os
import sys

import openai

URL, KEY = os.environ["KEBNE_URL"], os.environ["KEBNE_KEY"]
LAKE = b"# Lakes\n\nThe lake Tornetrask is 70 kilometres long and freezes in December."
MOUNTAIN = b"Kebnekaise is the highest mountain of Sweden."
CHECKS = []


def check(sentence):
    def add(function):
        CHECKS.append((sentence, function))
        return function

    return add


client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)


@check("a vector store is created, filled, polled, searched and deleted")
def _():
    store = client.vector_stores.create(name="north", expires_after={"anchor": "last_active_at", "days": 7})
    assert store.status == "completed" and store.expires_after.days == 7, store
    lake = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("lake.md", LAKE), poll_interval_ms=50)
    assert lake.status == "completed" and lake.last_error is None, lake
    mountain = client.files.create(file=("mountain.txt", MOUNTAIN), purpose="assistants")
    added = client.vector_stores.files.create_and_poll(
        vector_store_id=store.id, file_id=mountain.id, attributes={"kind": "rock"}, poll_interval_ms=50,
        chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 20}})
    assert added.chunking_strategy.static.max_chunk_size_tokens == 200, added
    store = client.vector_stores.retrieve(store.id)
    assert store.file_counts.completed == 2 and store.usage_bytes > 0, store
    found = client.vector_stores.search(store.id, query="How long is the lake?", max_num_results=5)
    best = found.data[0]
    assert best.filename == "lake.md" and "70 kilometres" in best.content[0].text and best.score <= 1, best
    rock = client.vector_stores.search(store.id, query=["lake", "mountain"], filters={"type": "eq", "key": "kind", "value": "rock"})
    assert [each.file_id for each in rock] == [mountain.id], rock
    content = client.vector_stores.files.content(mountain.id, vector_store_id=store.id)
    assert content.data[0].text == MOUNTAIN.decode(), content
    changed = client.vector_stores.files.update(mountain.id, vector_store_id=store.id, attributes={"kind": "stone"})
    assert changed.attributes == {"kind": "stone"}, changed
    answer = client.chat.completions.with_raw_response.create(
        model="good", messages=[{"role": "user", "content": "Which mountain is the highest?"}],
        extra_headers={"x-kebne-collections": store.id})
    assert json.loads(answer.headers["x-kebne-sources"])[0]["filename"] == "mountain.txt", answer.headers
    assert client.vector_stores.files.delete(mountain.id, vector_store_id=store.id).deleted
    assert [each.id for each in client.vector_stores.files.list(store.id)] == [lake.id]
    assert client.vector_stores.delete(store.id).deleted
    assert client.files.content(mountain.id).read() == MOUNTAIN
    assert client.files.delete(mountain.id).deleted


@check("lists go on behind a page")
def _():
    made = [client.vector_stores.create(name=f"store {at}").id for at in range(5)]
    assert [store.id for store in client.vector_stores.list(limit=2)] == made[::-1]
    assert [store.id for store in client.vector_stores.list(limit=2, order="asc")] == made
    for id in made:
        client.vector_stores.update(id, name="changed", metadata={"a": "b"})
        assert client.vector_stores.delete(id).deleted


@check("what is not there, and what cannot be read, are told")
def _():
    for call in (lambda: client.vector_stores.retrieve("vs_0"), lambda: client.files.retrieve("file-0")):
        try:
            call()
        except openai.NotFoundError as error:
            assert error.code in ("vector_store_not_found", "file_not_found"), error
        else:
            raise AssertionError("it was there")
    store = client.vector_stores.create()
    failed = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("a.pdf", b"%PDF-1.7"), poll_interval_ms=50)
    assert failed.status == "failed" and failed.last_error.code == "unsupported_file", failed


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
