"""What schemathesis has to be told of our media types."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def write_lines(context, value):
    """The document's schema is of the whole body: a text."""
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", errors="surrogatepass")


@schemathesis.deserializer("application/x-ndjson")
def read_first_line(context, response):
    """The document's schema is of one line: the first is held against it, and all must be JSON."""
    lines = [json.loads(line) for line in response.content.splitlines() if line]
    return lines[0]
