"""Runs llama.cpp's own HTTP server, out of the package xllamacpp, until it is terminated.

usage: serve.py MODEL PORT TEMPLATE [SLOTS]
"""

import pathlib
import signal
import sys

import xllamacpp

model, port, template = sys.argv[1:4]
slots = int(sys.argv[4]) if len(sys.argv) > 4 else 2
parameters = xllamacpp.CommonParams()
parameters.model.path = model
parameters.model_alias = {"smollm2"}
parameters.port = int(port)
parameters.n_parallel = slots
# Tokens of all slots together.
parameters.n_ctx = 1024 * slots
# Two threads wait for each other on a machine that has other work.
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
parameters.endpoint_slots = True
parameters.ui = False
parameters.chat_template = pathlib.Path(template).read_text()
server = xllamacpp.Server(parameters)
print(f"serving on {server.listening_address}", flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
del server
