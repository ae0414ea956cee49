#!/usr/bin/env bash
# With litellm's cache one answer serves for settings that make others: what is asked of a server by repetition_penalty,
# min_p or anything in extra_body, such as chat_template_kwargs, which turns thinking on and off, is not part of what an
# answer is kept under; top_k, temperature and seed are. Nor is the address: two checkpoints served under one name on
# two ports are one. So a sweep of penalties has one accuracy, that of the first, and the server is asked once. The
# documentation of the cache's class does not say what counts. (A switch that counts such settings is off.)
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LITELLM=1.110.2 FASTAPI=0.165.0 SOUNDFILE=0.14.0 ORJSON=3.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
# an answer from the cache needs what the others bring
"$python" -m pip install --disable-pip-version-check --quiet \
    "litellm==$LITELLM" "fastapi==$FASTAPI" "soundfile==$SOUNDFILE" "orjson==$ORJSON"

cd "$folder" # nothing of a checkout is imported
LITELLM_LOCAL_MODEL_COST_MAP=True "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import http.server
import importlib.metadata as metadata
import json
import sys
import threading

import litellm
from litellm.caching.caching import Cache


class Server(http.server.BaseHTTPRequestHandler):
    """One that answers with its own name and the settings it was asked with."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        settings = {name: value for name, value in asked.items() if name not in ("model", "messages")}
        answer = f"{self.server.checkpoint} {settings}"
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": [message]}
        text = json.dumps(reply | {"usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *given):
        pass


def serve(checkpoint):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.checkpoint, server.asked = checkpoint, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def ask(server, settings):
    address = f"http://127.0.0.1:{server.server_port}/v1"
    messages = [{"role": "user", "content": "How many boats are in the picture?"}]
    reply = litellm.completion("openai/policy", messages, api_base=address, api_key="none", **settings)
    return reply.choices[0].message.content


def thinking(on):
    return {"extra_body": {"chat_template_kwargs": {"enable_thinking": on}}}


FIRST, SECOND = serve("first"), serve("second")
SWEEPS = {
    "temperature": [(FIRST, {"temperature": value}) for value in (0.5, 1.0)],
    "top_k": [(FIRST, {"top_k": value}) for value in (1, 50)],
    "repetition_penalty": [(FIRST, {"repetition_penalty": value}) for value in (1.1, 1.5)],
    "min_p": [(FIRST, {"min_p": value}) for value in (0.1, 0.5)],
    "thinking": [(FIRST, thinking(on)) for on in (True, False)],
    "checkpoint": [(server, {}) for server in (FIRST, SECOND)],
}
print(f"litellm {metadata.version('litellm')}")
seen = {}
for name, asked in SWEEPS.items():
    litellm.cache = Cache(type="local")  # a new one for each sweep
    before = FIRST.asked + SECOND.asked
    answers = [ask(*pair) for pair in asked]
    seen[name] = len(set(answers)), FIRST.asked + SECOND.asked - before
    print(f"{name}: {seen[name][0]} answers, {seen[name][1]} questions to a server; the last answer: {answers[-1]}")
sys.stdout.flush()
if list(seen.values()) != [(2, 2)] * 2 + [(1, 1)] * 4:
    print("Changed.")
    sys.exit(1)
PYTHON
