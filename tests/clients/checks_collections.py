"""Checks files and vector stores of the official OpenAI library for Python against the gateway."""

import json

import openai

from harness import KEY, URL, check, main

LAKE = b"# Lakes\n\nThe lake Tornetrask is 70 kilometres long and freezes in December."
MOUNTAIN = b"Kebnekaise is the highest mountain of Sweden."
client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)


@check("a vector store is created, filled, polled, searched and deleted")
async def _():
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
async def _():
    made = [client.vector_stores.create(name=f"store {at}").id for at in range(5)]
    assert [store.id for store in client.vector_stores.list(limit=2)] == made[::-1]
    assert [store.id for store in client.vector_stores.list(limit=2, order="asc")] == made
    for id in made:
        client.vector_stores.update(id, name="changed", metadata={"a": "b"})
        assert client.vector_stores.delete(id).deleted


@check("what is not there, and what cannot be read, are told")
async def _():
    for call in (lambda: client.vector_stores.retrieve("vs_0"), lambda: client.files.retrieve("file-0")):
        try:
            call()
        except openai.NotFoundError as error:
            assert error.code in ("vector_store_not_found", "file_not_found"), error
        else:
            raise AssertionError("it was there")
    store = client.vector_stores.create()
    failed = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("a.pdf", b"%PDF-1.7"), poll_interval_ms=50)
    assert failed.status == "failed" and failed.last_error.code == "invalid_file", failed


def filled():
    """Returns a vector store with two files, read, and their ids by their names."""
    store = client.vector_stores.create(name="north")
    batch = client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[("lake.md", LAKE), ("mountain.txt", MOUNTAIN)], poll_interval_ms=50)
    assert batch.status == "completed" and batch.file_counts.completed == batch.file_counts.total == 2, batch
    names = {client.files.retrieve(file.id).filename: file.id for file in client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id)}
    return store.id, names, batch


@check("a batch of files is uploaded, polled, listed and cancelled")
async def _():
    store, names, batch = filled()
    assert set(names) == {"lake.md", "mountain.txt"}, names
    again = client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store)
    assert again == batch, (again, batch)
    files = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store, limit=1, order="asc")
    assert sorted(file.id for file in files) == sorted(names.values()), files
    done = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
    assert done.status == "completed" and done.file_counts.cancelled == 0, done
    other = client.vector_stores.create()
    made = client.vector_stores.file_batches.create_and_poll(
        other.id, file_ids=list(names.values()), attributes={"kind": "land"}, poll_interval_ms=50)
    assert made.file_counts.completed == 2, made
    land = client.vector_stores.files.retrieve(names["lake.md"], vector_store_id=other.id)
    assert land.attributes == {"kind": "land"}, land
    for call in (lambda: client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=other.id),
                 lambda: client.vector_stores.file_batches.list_files("vsfb_0", vector_store_id=store)):
        try:
            call()
        except openai.NotFoundError as error:
            assert error.code == "file_batch_not_found", error
        else:
            raise AssertionError("it was there")
    try:
        client.vector_stores.file_batches.create(other.id, file_ids=[names["lake.md"], "file-0"])
    except openai.NotFoundError as error:
        assert error.code == "file_not_found", error
    else:
        raise AssertionError("a file that is not there was added")


TOOL = {"type": "file_search", "max_num_results": 3}


@check("the tool file_search finds, reports and cites")
async def _():
    store, names, _ = filled()
    tool = TOOL | {"vector_store_ids": [store]}
    raw = client.responses.with_raw_response.create(
        model="citing", input="How long is the lake Tornetrask?", tools=[tool], include=["file_search_call.results"])
    response = raw.parse()
    call, message = response.output
    assert call.type == "file_search_call" and call.status == "completed", call
    assert call.queries == ["How long is the lake Tornetrask?"], call
    assert call.results[0].filename == "lake.md" and "70 kilometres" in call.results[0].text and 0 < call.results[0].score <= 1, call
    [cited] = message.content[0].annotations
    assert (cited.type, cited.file_id, cited.filename) == ("file_citation", names["lake.md"], "lake.md"), cited
    assert message.content[0].text[cited.index:cited.index + 3] == "[1]", cited
    assert response.tools[0].type == "file_search" and response.tools[0].vector_store_ids == [store], response.tools
    assert json.loads(raw.headers["x-kebne-sources"])[0]["file_id"] == names["lake.md"], raw.headers
    assert "chunks=2" in raw.headers["x-kebne-retrieval"], raw.headers
    asked = response.model_extra["asked"]
    assert "tools" not in asked and "file_search" not in json.dumps(asked), asked
    assert "70 kilometres" in asked["messages"][-1]["content"], asked
    plain = client.responses.create(model="citing", input="How long is the lake?", tools=[tool])
    assert plain.output[0].results is None, plain
    again = client.responses.create(model="citing", input="And the mountain?", previous_response_id=plain.id, tools=[tool])
    assert again.output[0].queries == ["And the mountain?"], again
    filtered = client.responses.create(
        model="citing", input="lake", include=["file_search_call.results"],
        tools=[tool | {"filters": {"type": "eq", "key": "kind", "value": "rock"}}])
    assert filtered.output[0].results == [] and filtered.output[1].content[0].annotations == [], filtered


@check("the tool file_search is reported in a stream as it happens")
async def _():
    store, names, _ = filled()
    tool = TOOL | {"vector_store_ids": [store]}
    kinds, text, annotations = [], "", []
    with client.responses.stream(model="citing", input="How long is the lake Tornetrask?", tools=[tool]) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type == "response.output_text.annotation.added":
                annotations.append(event.annotation)
        final = stream.get_final_response()
    steps = [kind for kind in kinds if "file_search" in kind]
    assert steps == [f"response.file_search_call.{step}" for step in ("in_progress", "searching", "completed")], kinds
    assert kinds.index("response.output_text.annotation.added") < kinds.index("response.output_text.done"), kinds
    assert [item.type for item in final.output] == ["file_search_call", "message"], final
    assert annotations[0].file_id == names["lake.md"] == final.output[1].content[0].annotations[0].file_id, annotations
    assert text == final.output_text and "[1]" in text, text


@check("the tool file_search works in chats, and tool_choice can exclude it")
async def _():
    store, names, _ = filled()
    tool = TOOL | {"vector_store_ids": [store]}
    messages = [{"role": "user", "content": "How long is the lake Tornetrask?"}]
    raw = client.chat.completions.with_raw_response.create(model="citing", messages=messages, tools=[tool])
    assert json.loads(raw.headers["x-kebne-sources"])[0]["file_id"] == names["lake.md"], raw.headers
    asked = raw.parse().model_extra["asked"]
    assert "tools" not in asked and "70 kilometres" in asked["messages"][0]["content"], asked
    with client.chat.completions.with_streaming_response.create(model="citing", messages=messages, tools=[tool], stream=True) as raw:
        assert "lake.md" in raw.headers["x-kebne-sources"], raw.headers
    none = client.responses.create(model="citing", input="lake", tools=[tool], tool_choice="none")
    assert [item.type for item in none.output] == ["message"], none
    chosen = client.responses.create(model="citing", input="lake", tools=[tool], tool_choice={"type": "file_search"})
    assert chosen.output[0].type == "file_search_call", chosen
    for wrong in ({"vector_store_ids": ["vs_0"]}, {"vector_store_ids": []}, {"max_num_results": 51}):
        try:
            client.responses.create(model="citing", input="lake", tools=[tool | wrong])
        except (openai.NotFoundError, openai.BadRequestError) as error:
            assert error.status_code == (404 if wrong == {"vector_store_ids": ["vs_0"]} else 400), error
        else:
            raise AssertionError(f"{wrong} was accepted")


@check("a model ranks what is found, and a search says how it went")
async def _():
    store = client.vector_stores.create().id
    client.vector_stores.file_batches.upload_and_poll(
        store, files=[("one.txt", b"The lake is long."), ("two.txt", b"The lake qqq is long.")], poll_interval_ms=50)
    plain = client.vector_stores.search(store, query="The lake is long.")
    assert plain.data[0].filename == "one.txt", plain
    assert plain.model_extra["ranking"]["ranker"] is None, plain
    ranked = client.vector_stores.search(store, query="The lake is long.", ranking_options={"ranker": "ranker"})
    assert [each.filename for each in ranked.data] == ["two.txt", "one.txt"], ranked
    assert ranked.data[0].score > 0.9 > 0.1 > ranked.data[1].score, ranked
    assert ranked.model_extra["ranking"] == plain.model_extra["ranking"] | {"ranker": "ranker"}, ranked
    gone = client.vector_stores.search(store, query="The lake is long.", ranking_options={"ranker": "broken"})
    assert [each.filename for each in gone.data] == ["one.txt", "two.txt"], gone
    assert gone.model_extra["ranking"]["ranker_error"] == "failed", gone
    differing = client.vector_stores.search(
        store, query="The lake is long.", ranking_options={"ranker": "none"}, extra_body={"ranking_options": {"max_marginal_relevance": 0.5}})
    assert len(differing.data) == 2, differing
    try:
        client.vector_stores.search(store, query="x", ranking_options={"ranker": "nobody"})
    except openai.BadRequestError as error:
        assert error.param == "ranking_options.ranker", error
    else:
        raise AssertionError("an unknown ranker was accepted")


main(f"openai {openai.__version__}")
