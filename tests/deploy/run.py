"""Runs the checks of `deploy/`; with words as arguments, only the checks whose sentence contains one of them."""

import sys
import time

import harness
import backup  # noqa: F401
import proxies  # noqa: F401
import release  # noqa: F401
import rolling  # noqa: F401
import static  # noqa: F401

words = sys.argv[1:]
chosen = [(sentence, function) for sentence, function in harness.CHECKS if not words or any(word in sentence for word in words)]
if not chosen:
    sys.exit(f"test-deploy: no check contains one of {words}")
failed = 0
for sentence, function in chosen:
    since = time.monotonic()
    try:
        function()
        print(f"ok    {sentence} ({time.monotonic() - since:.1f} s)", flush=True)
    except harness.Failed as error:
        failed += 1
        print(f"FAIL  {sentence}\n{error}", flush=True)
print(f"{len(chosen) - failed} passed, {failed} failed")
sys.exit(failed > 0)
