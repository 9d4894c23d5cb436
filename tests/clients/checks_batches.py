"""Checks batches of the official OpenAI library for Python against the gateway."""

import json
import time

import openai

from harness import KEY, URL, check, main

client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)


def line(name, model="good", url="/v1/chat/completions"):
    body = {"model": model, "messages": [{"role": "user", "content": f"Hello {name}"}]}
    return json.dumps({"custom_id": name, "method": "POST", "url": url, "body": body})


def upload(*lines):
    return client.files.create(file=("calls.jsonl", "\n".join(lines).encode()), purpose="batch")


def ended(batch):
    until = time.monotonic() + 60
    while batch.status not in ("completed", "cancelled", "expired", "failed"):
        assert time.monotonic() < until, batch
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines_of(file):
    return [json.loads(each) for each in client.files.content(file).text.splitlines()]


@check("a batch is carried out and its results are files")
async def _():
    names = [f"line {at}" for at in range(20)]
    file = upload(*map(line, names), line("wrong", model="none"))
    assert file.purpose == "batch" and file.status == "processed", file
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"team": "search"})
    assert batch.status in ("in_progress", "finalizing") and batch.request_counts.total == 21, batch
    assert batch.metadata == {"team": "search"} and batch.completion_window == "24h", batch
    assert batch.expires_at - batch.created_at == 24 * 3600, batch
    batch = ended(batch)
    counts = batch.request_counts
    assert (batch.status, counts.completed, counts.failed) == ("completed", 20, 1), batch
    assert batch.completed_at and batch.in_progress_at and batch.finalizing_at, batch
    output = lines_of(batch.output_file_id)
    assert [each["custom_id"] for each in output] == names, output
    for each in output:
        assert each["response"]["status_code"] == 200 and each["error"] is None, each
        assert each["response"]["body"]["object"] == "chat.completion", each
    [wrong] = lines_of(batch.error_file_id)
    assert wrong["custom_id"] == "wrong" and wrong["response"]["status_code"] == 404, wrong
    assert wrong["response"]["body"]["error"]["code"] == "model_not_found", wrong
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"
    assert batch.id in [each.id for each in client.batches.list(limit=1)]


@check("a batch is cancelled, and what is wrong is told")
async def _():
    file = upload(*(line(f"line {at}") for at in range(500)))
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    cancelled = client.batches.cancel(batch.id)
    assert cancelled.status in ("cancelling", "finalizing", "cancelled"), cancelled
    cancelled = ended(cancelled)
    assert cancelled.status == "cancelled" and cancelled.cancelled_at, cancelled
    errors = lines_of(cancelled.error_file_id)
    assert errors and all(each["error"]["code"] == "batch_cancelled" for each in errors), errors[0]
    for file, endpoint, param in (
        (upload(line("a", url="/v1/embeddings")).id, "/v1/chat/completions", "input_file_id"),
        (upload(line("a"), line("a")).id, "/v1/chat/completions", "input_file_id"),
        (upload("{}").id, "/v1/chat/completions", "input_file_id"),
        (upload(line("a")).id, "/v1/models", "endpoint"),
    ):
        try:
            client.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h")
            raise AssertionError(f"{param} was not refused")
        except openai.BadRequestError as error:
            assert error.param == param, error
    try:
        client.batches.retrieve("batch-0")
        raise AssertionError("there is no such batch")
    except openai.NotFoundError as error:
        assert error.code == "batch_not_found", error


main(f"openai {openai.__version__}")
