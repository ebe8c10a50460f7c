-- Posts the body that stands in the environment, and prints what came of it as one line of JSON.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = os.getenv("BODY")

function done(summary, latency)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout
  io.write(string.format('{"requests_per_second": %.0f, "p50_us": %d, "p99_us": %d, "p999_us": %d, "failed": %d}\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99), latency:percentile(99.9), failed))
end
