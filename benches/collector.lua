-- Events for `wrk -s benches/collector.lua URL -- BATCH`: each request sends BATCH new events as NDJSON.
local thread_count = 0

function setup(thread)
  thread:set("thread_number", thread_count)
  thread_count = thread_count + 1
end

function init(args)
  batch = tonumber(args[1]) or 1
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/x-ndjson"
  sequence = 0
  now = os.date("!%Y-%m-%dT%H:%M:%SZ")
  run = string.format("%08x-%04x", os.time() % 4294967296, thread_number)
end

function request()
  local lines = {}
  for place = 1, batch do
    sequence = sequence + 1
    lines[place] = string.format(
      '{"event_id":"%s-4000-8000-%012x","type":"track","ts":"%s","user_id":"u_%08d","event":"page_view","value":1.00,'
        .. '"properties":{"page":"/search","country":"NL","platform":"ios","v":"5.13.0","session":"e5acb506"}}',
      run, sequence, now, sequence * 7919 % 200000)
  end
  return wrk.format(nil, nil, nil, table.concat(lines, "\n"))
end

function done(summary, latency, requests)
  io.write(string.format("answered/s %.0f, p50 %.2f ms, p99 %.2f ms, not 2xx %d\n",
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status))
end
