#!/usr/bin/env python3
"""Whether a change of the flags makes evaluations wait: latencies under `wrk`, without changes and with ten a second.

  swap.py PROGRAM [FLAGS] [SECONDS]

Starts a server of its own in a folder of its own with FLAGS flags. Needs `wrk`. Prints one JSON object a run; the runs take turns.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

program = sys.argv[1]
flags = int(sys.argv[2]) if len(sys.argv) > 2 else 500
seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 6
here = pathlib.Path(__file__).parent


def flag(number, percent):
    return {
        "key": f"flag-{number}", "type": "boolean", "enabled": True, "off_variation": "off",
        "variations": [{"key": "on", "value": True}, {"key": "off", "value": False}],
        "default": {"rollout": [{"variation": "on", "percent": percent}, {"variation": "off", "percent": 100 - percent}]},
    }


def call(url, method, body, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers}, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.headers


def change(url, stop, count):
    percent = 10
    while not stop.is_set():
        percent = percent % 90 + 1
        with urllib.request.urlopen(f"{url}/api/v1/feature-flags/flag-1") as found:
            version = found.headers["etag"]
        call(f"{url}/api/v1/feature-flags/flag-1", "PUT", flag(1, percent), **{"if-match": version})
        count.append(1)
        time.sleep(0.1)


with tempfile.TemporaryDirectory() as folder:
    server = subprocess.Popen([program, "serve", "--data", folder, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = next(found.group() for found in (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stdout) if found)
    threading.Thread(target=lambda: [None for _ in server.stdout], daemon=True).start()
    for number in range(flags):
        call(f"{url}/api/v1/feature-flags", "POST", flag(number, 10))
    for changes in (False, True) * 3:
        stop, count = threading.Event(), []
        writer = threading.Thread(target=change, args=(url, stop, count))
        if changes:
            writer.start()
        environment = {**os.environ, "BODY": json.dumps({"user_id": "user-4711", "context": {"plan": "pro"}})}
        wrk = ["wrk", "-t", "1", "-c", "8", "-d", f"{seconds}s", "-s", str(here / "post.lua"), f"{url}/api/v1/feature-flags/flag-7/evaluate"]
        printed = subprocess.run(wrk, env=environment, capture_output=True, text=True, check=True).stdout
        stop.set()
        if changes:
            writer.join()
        figures = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
        print(json.dumps({"flags": flags, "changes": len(count), **figures}), flush=True)
    server.terminate()
    server.wait()
