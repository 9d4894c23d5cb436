"""Runs the llm-comply suite against the three surfaces: its checks, and the published schemas that it ships."""

import json
import subprocess
import sys

from harness import KEY, URL

SURFACES = ["openai-chat", "open-responses", "anthropic"]
# Checks that cannot hold, each with the reason.
DISPUTED = {}


def main():
    failed = 0
    for surface in SURFACES:
        command = [sys.executable, "-m", "llm_comply.cli", "--format", surface, "--base-url", URL, "--api-key", KEY,
                   "--model", "clever", "--json"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        results = json.loads(run.stdout)["results"]
        for result in results:
            name, errors = f"{surface}: {result['id']}", result.get("errors", [])
            if result["status"] == "failed" and result["id"] in DISPUTED:
                print(f"  disputed {name}: {DISPUTED[result['id']]}: {errors}")
            elif result["status"] == "failed":
                failed += 1
                print(f"  FAILED  {name}: {errors}")
            else:
                print(f"  {'ok     ' if result['status'] == 'passed' else 'skipped'} {name} {' '.join(errors)}")
        passed = sum(result["status"] == "passed" for result in results)
        print(f"  {passed} of {len(results)} checks passed on {surface}", flush=True)
    sys.exit(failed > 0)


main()
