"""Sends what schemathesis generates from the published OpenAPI documents, as llm-comply ships them, to the three surfaces."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import llm_comply
from harness import KEY, ROOT, URL

HERE = pathlib.Path(__file__).parent
SPECS = pathlib.Path(llm_comply.__file__).parent / "specs"
# Each document, the address that its paths are relative to, and its paths that are tried.
SURFACES = [
    ("openai_chat", URL, ["/chat/completions", "/completions", "/embeddings", "/moderations", "/models"]),
    ("anthropic", ROOT, ["/v1/messages", "/v1/messages/count_tokens"]),
    ("openresponses", URL, ["/responses"]),
]
EXAMPLES = os.environ.get("EXAMPLES", "40")


def main():
    failed = []
    for name, url, paths in SURFACES:
        with tempfile.TemporaryDirectory() as folder:
            document = json.loads((SPECS / f"{name}.json").read_text())
            document["paths"] = {path: document["paths"][path] for path in paths}
            file = pathlib.Path(folder) / f"{name}.json"
            file.write_text(json.dumps(document))
            command = [pathlib.Path(sys.executable).parent / "schemathesis", "run", file, "--url", url, "--seed", "1",
                       "--generation-database", "none", "--no-color", "--header", f"Authorization: Bearer {KEY}",
                       "--phases", "fuzzing", "--mode", "all", "--max-examples", EXAMPLES, "--continue-on-failure",
                       "--checks", "answers_as_documented", "--suppress-health-check", "all", "--warnings", "off"]
            hooks = os.environ | {"SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(HERE)}
            run = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=hooks)
            tried = re.search(r"(\d+) generated", run.stdout)
            print(f"  {'ok     ' if run.returncode == 0 else 'FAILED '} {name}: {tried and tried.group(1)} requests", flush=True)
            if run.returncode != 0:
                failed.append(name)
                print(run.stdout[-6000:], run.stderr[-2000:])
    sys.exit(bool(failed))


main()
