"""Measures how long a harmful release lives: from the events that prove the harm being sent to the flag being off.

Each trial makes a flag with a guardrail and 200 users in either arm, and then sends errors of 60 users of the new arm.
Usage: python3 benches/rollback.py ADDRESS [TRIALS], for a server that runs with nothing else to do.
"""

import http.client
import json
import random
import sys
import time
import uuid
from datetime import datetime, timezone

USERS = 200
HARMED = 60


class Server:
    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address)

    def call(self, path, body):
        events = isinstance(body, list)
        text = "\n".join(map(json.dumps, body)) if events else json.dumps(body)
        kind = "application/x-ndjson" if events else "application/json"
        self.connection.request("POST", path, text, {"content-type": kind})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            sys.exit(f"{path} answered {answer.status}: {content.decode()}")
        return json.loads(content)


def event(kind, user, **fields):
    now = datetime.now(timezone.utc).isoformat()
    return {"event_id": str(uuid.uuid4()), "type": kind, "ts": now, "user_id": user, **fields}


def trial(server):
    flag = f"harm-{uuid.uuid4().hex[:8]}"
    variations = [{"key": "on", "value": True}, {"key": "off", "value": False}]
    shares = [{"variation": "on", "percent": 50}, {"variation": "off", "percent": 50}]
    server.call("/api/v1/feature-flags", {
        "key": flag, "type": "boolean", "enabled": True, "variations": variations, "off_variation": "off",
        "default": {"rollout": shares}})
    server.call("/api/v1/guardrails", {"flag": flag, "event": "error", "control": "off", "treatment": "on"})
    arms = {"on": [], "off": []}
    while min(map(len, arms.values())) < USERS:
        user = uuid.uuid4().hex
        decision = server.call(f"/api/v1/feature-flags/{flag}/evaluate", {"user_id": user, "context": {}})
        arms[decision["variation"]].append(user)
    server.call("/api/v1/events", [
        event("exposure", user, experiment=flag, variant=arm) for arm, users in arms.items() for user in users])
    time.sleep(2 + random.random())
    errors = [event("track", user, event="error", value=1) for user in arms["on"][:HARMED]]
    sent = time.monotonic()
    server.call("/api/v1/events", errors)
    user = {"user_id": arms["on"][0], "context": {}}
    while server.call(f"/api/v1/feature-flags/{flag}/evaluate", user)["variation"] == "on":
        if time.monotonic() - sent > 30:
            sys.exit("the flag was not rolled back within 30 s")
        time.sleep(0.005)
    return time.monotonic() - sent


def main():
    server = Server(sys.argv[1].removeprefix("http://").rstrip("/"))
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    took = sorted(trial(server) for _ in range(trials))
    at = lambda share: took[min(trials - 1, int(share * trials))]
    print(f"harm sent to flag off: p50 {at(0.5):.3f} s, p99 {at(0.99):.3f} s, max {took[-1]:.3f} s over {trials} trials")


if __name__ == "__main__":
    main()
