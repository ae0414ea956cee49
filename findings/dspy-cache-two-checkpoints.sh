#!/usr/bin/env bash
# dspy.LM keeps answers, in memory and on disk, and goes by the model's name, the messages and the settings, not by the
# address asked. Two checkpoints served under one name on two ports, before and after a task, are one model: the second
# one is never asked, and has the accuracy of the first. So is a server that is started again with the next checkpoint,
# also in another process: the answers of the last one come from the disk. That is on unless cache=False is said. The
# documentation of "cache" says that it is "to improve performance and reduce costs", and nothing of addresses.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DSPY=3.4.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "dspy==$DSPY"

cd "$folder" # nothing of a checkout is imported
cat >ask.py <<'PYTHON'
import http.server
import importlib.metadata as metadata
import json
import sys
import threading

import dspy

WORDS = "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"


class Server(http.server.BaseHTTPRequestHandler):
    """One that answers all, as after a task, or nothing right, as before it."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        number = int(asked["messages"][-1]["content"].split()[-1])
        answer = WORDS[number] if self.server.learned else "unknown"
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


def accuracy(learned, **settings):
    """Questions that are answered rightly and how many the server was asked, of ten."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.learned, server.asked = learned, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    model = dspy.LM("openai/policy", api_base=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", **settings)
    right = sum(model(f"Write as a word: {number}") == [word] for number, word in enumerate(WORDS))
    server.shutdown()
    return right, server.asked


if sys.argv[1] == "again":
    print(f"after the task, in a process of its own: {accuracy(learned=True)}")
    sys.exit(0)
print(f"dspy {metadata.version('dspy')}; right of ten, and asked of ten")
before, after, fresh = accuracy(learned=False), accuracy(learned=True), accuracy(learned=True, cache=False)
print(f"before the task: {before}; after it, on another port: {after}; with cache=False: {fresh}")
said = next(line for line in dspy.LM.__init__.__doc__.split("callbacks:")[0].split("\n") if "cache:" in line)
sys.exit((before, after, fresh) != ((0, 10), (0, 0), (10, 10)) or "address" in said)
PYTHON
export DSPY_CACHEDIR="$folder/cache" LITELLM_LOCAL_MODEL_COST_MAP=True
"$python" -W ignore ask.py first 2>log.txt || { tail -n 20 log.txt; echo "Changed."; exit 1; }
"$python" -W ignore ask.py again 2>log.txt | tee again.txt
grep -q "(0, 0)" again.txt || { echo "Changed."; exit 1; }
