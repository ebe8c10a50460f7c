#!/usr/bin/env python3
"""What happens when a server with many open event streams is restarted: when the clients come back, and what others notice.

  storm.py PROGRAM [CLIENTS]

The clients wait as the server told them by `retry:` before it ended. Needs as many open files (`ulimit -n`). Prints one JSON object.
"""
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time

program = sys.argv[1]
clients = int(sys.argv[2]) if len(sys.argv) > 2 else 5_000
PORT = 18_090
back = []
advice = []
evaluations = []


def serve(folder):
    command = [program, "serve", "--data", folder, "--listen", f"127.0.0.1:{PORT}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in server.stdout:
        if "http://" in line:
            return server
    raise SystemExit("the server does not start")


async def follow():
    """Opens a stream, hears its advice, reads to its end, waits, and comes back."""
    async def open_stream():
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
                writer.write(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
                text = await reader.readuntil(b"event:")
                if b" 200 " in text.split(b"\r\n", 1)[0]:
                    return reader, writer, text
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(1)

    reader, writer, text = await open_stream()
    opened.release()
    while chunk := await reader.read(65_536):
        text = (text + chunk)[-4_096:]
    writer.close()
    wait = [int(found) for found in re.findall(rb"retry: ?(\d+)", text)]
    wait = wait[-1] / 1_000 if wait else 1.0
    advice.append(wait)
    await asyncio.sleep(wait)
    reader, writer, text = await open_stream()
    back.append(time.monotonic())
    writer.close()


async def evaluate(stop):
    """Asks for a flag that does not exist, twenty times a second, as somebody who is not part of the storm."""
    body = b'{"user_id":"u"}'
    head = b"POST /api/v1/feature-flags/x/evaluate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    while not stop.is_set():
        begun = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(head + body)
            if b" 404 " in (await reader.read()).split(b"\r\n", 1)[0]:
                evaluations.append(time.monotonic() - begun)
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(0.05)


async def main():
    global opened
    opened = asyncio.Semaphore(0)
    with tempfile.TemporaryDirectory() as folder:
        server = serve(folder)
        tasks = [asyncio.create_task(follow()) for _ in range(clients)]
        for _ in range(clients):
            await opened.acquire()
        ended = time.monotonic()
        server.terminate()
        await asyncio.to_thread(server.wait)
        stopped = time.monotonic() - ended
        server = await asyncio.to_thread(serve, folder)
        started = time.monotonic()
        stop = asyncio.Event()
        asking = asyncio.create_task(evaluate(stop))
        await asyncio.gather(*tasks)
        stop.set()
        await asking
        server.terminate()
        server.wait()
    waits = sorted(moment - started for moment in back)
    asked = sorted(evaluations)
    busiest = max(sum(1 for moment in waits if second <= moment < second + 1) for second in range(int(waits[-1]) + 1))
    print(json.dumps({
        "clients": clients, "stopped_s": round(stopped, 2), "advice_s": [round(min(advice), 2), round(max(advice), 2)],
        "all_back_after_s": round(waits[-1], 2), "median_back_after_s": round(waits[len(waits) // 2], 2), "busiest_second": busiest,
        "evaluation_p50_ms": round(asked[len(asked) // 2] * 1e3, 1), "evaluation_p99_ms": round(asked[int(len(asked) * 0.99)] * 1e3, 1),
    }))


asyncio.run(main())
