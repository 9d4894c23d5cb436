"""Evaluates the program's parts that compare meanings with a real model of embeddings, and fails where one is worse than promised.

usage: run.py KEBNE-LAB MODEL
"""

import re
import socket
import subprocess
import sys

import xllamacpp

# The least share of questions whose intent is found, and of those found that are right.
ACCURACY, PRECISION = 0.90, 0.95
# The most wrong answers of the cache, in percent of those that it gives.
WRONG_MAX = 0.5


def serve(model):
    """Starts llama.cpp's server in this process; returns it and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {"minilm"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = 4
    # Tokens of all slots together; the model takes 512.
    parameters.n_ctx = 2048
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    parameters.n_ubatch = parameters.n_batch
    parameters.ui = False
    return xllamacpp.Server(parameters), f"http://127.0.0.1:{port}/v1"


def number(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    assert found, f"no `{pattern}` in:\n{text}"
    return float(found.group(1))


def main(program, model):
    server, url = serve(model)
    faults = []

    def evaluate(command, *arguments):
        command = [program, command, *arguments, "--embedder", url, "--model", "minilm"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(text)
        return text

    def require(fine, what):
        if not fine:
            faults.append(what)

    sets = re.split(r"^(?=[a-z ]+: \d+ questions$)", evaluate("rag-eval"), flags=re.MULTILINE)[1:]
    assert len(sets) == 3, len(sets)
    for text in sets:
        name = text.split(":")[0]
        ndcg = {way: number(rf"^{way} +[\d.]+ +[\d.]+ +([\d.]+)", text) for way in ("words", "vectors", "hybrid")}
        if name == "identifiers":
            # Vectors do not tell them from each other, and words alone find all of them.
            require(ndcg["hybrid"] >= ndcg["words"], f"{name}: {ndcg}")
            continue
        require(ndcg["hybrid"] > max(ndcg["words"], ndcg["vectors"]), f"{name}: both rankings are not better than each: {ndcg}")
        for row in ("share chosen on the other half", "default share"):
            gain = number(rf"^{row} +([-+\d.]+)", text)
            require(gain > 0, f"{name}, {row}: both rankings gain {gain} over the better one")

    text = evaluate("route-eval", "--sweep")
    accuracy, precision = number(r"^accuracy +([\d.]+) %", text) / 100, number(r"^right of those found +([\d.]+) %", text) / 100
    require(accuracy >= ACCURACY, f"intents: accuracy {accuracy}")
    require(precision >= PRECISION, f"intents: {precision} of those found are right")

    text = evaluate("cache-eval")
    for percent in re.findall(r"another call: taken for the same +([\d.]+) %", text):
        require(float(percent) == 0, f"exact cache: {percent} % wrong")
    wrong = re.findall(r"wrong answers among those that were used +([\d.]+) %", text)
    require(len(wrong) == 3, f"{len(wrong)} replays of the cache")
    for percent in wrong:
        require(float(percent) <= WRONG_MAX, f"learned cache: {percent} % wrong")
    found = re.findall(r"the same in the last third +([\d.]+) %", text)
    require(float(found[-1]) > 0, "the learned cache finds nothing, also without hard negatives")

    del server
    for fault in faults:
        print(f"embeddings: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
