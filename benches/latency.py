"""Measures how long an event takes from being sent to standing in the results, over HTTP, one event at a time.

Usage: python3 benches/latency.py ADDRESS [EVENTS], for a server that runs with nothing else to do.
"""

import http.client
import json
import random
import sys
import time
import uuid
from datetime import datetime, timezone


def call(connection, method, path, body=None):
    kind = {"content-type": "application/x-ndjson"} if body else {}
    connection.request(method, path, body, kind)
    answer = connection.getresponse()
    return answer.status, answer.read()


def main():
    address = sys.argv[1].removeprefix("http://").rstrip("/")
    events = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    connection = http.client.HTTPConnection(address)
    experiment = f"latency-{uuid.uuid4().hex[:8]}"
    took = []
    for number in range(1, events + 1):
        time.sleep(random.random())
        event = {
            "event_id": str(uuid.uuid4()),
            "type": "exposure",
            "ts": datetime.now(timezone.utc).isoformat(),
            "user_id": f"u{number}",
            "experiment": experiment,
            "variant": "control",
        }
        sent = time.monotonic()
        status, answer = call(connection, "POST", "/api/v1/events", json.dumps(event))
        if status not in (200, 202):
            sys.exit(f"the server answered {status}: {answer.decode()}")
        acknowledged = time.monotonic() - sent
        while True:
            status, answer = call(connection, "GET", f"/api/v1/experiments/{experiment}/results")
            if status == 200 and sum(arm["exposed"] for arm in json.loads(answer)["arms"]) >= number:
                break
            time.sleep(0.005)
        took.append((time.monotonic() - sent, acknowledged))
    for place, name in ((0, "visible in the results"), (1, "acknowledged")):
        times = sorted(pair[place] for pair in took)
        at = lambda share: times[min(len(times) - 1, int(share * len(times)))]
        print(f"{name}: p50 {at(0.5):.3f} s, p99 {at(0.99):.3f} s, max {times[-1]:.3f} s over {events} events")


if __name__ == "__main__":
    main()
