"""What the checks of all Python clients share: how they are collected, run and reported."""

import asyncio
import os
import re
import sys
import urllib.request

URL, KEY = os.environ["KEBNE_URL"], os.environ["KEBNE_KEY"]
ROOT = URL.removesuffix("/v1")
CHECKS = []


def check(sentence):
    """Adds a check; its sentence is what must be true."""

    def add(function):
        CHECKS.append((sentence, function))
        return function

    return add


def answers(model, status):
    """Returns how often the gateway has answered calls of a model with a status."""
    request = urllib.request.Request(ROOT + "/metrics", headers={"authorization": f"Bearer {KEY}"})
    text = urllib.request.urlopen(request).read().decode()
    line = re.search(rf'^kebne_answers_total{{model="{model}",status="{status}"}} (\d+)$', text, re.M)
    return int(line.group(1)) if line else 0


async def raises(kind, call, status=None):
    """Awaits a call that must raise exactly this class, and returns the error."""
    try:
        await call
    except kind as error:
        assert type(error) is kind, f"{type(error)} is not {kind}"
        if status is not None:
            assert error.status_code == status, error
            assert error.request_id.startswith("req_"), error.request_id
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def main(title):
    """Runs all checks and exits with 1 if one failed."""
    sys.exit(asyncio.run(run(title)))


async def run(title):
    failed = 0
    for sentence, function in CHECKS:
        try:
            await asyncio.wait_for(function(), 60)
            print(f"  ok      {sentence}", flush=True)
        except Exception as error:  # each check is reported
            failed += 1
            print(f"  FAILED  {sentence}: {error!r}", flush=True)
    print(f"  {len(CHECKS) - failed} of {len(CHECKS)} checks passed with {title}")
    return int(failed > 0)
