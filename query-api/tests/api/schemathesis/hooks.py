"""What schemathesis has to be told of our media types."""

import json

import schemathesis
from hypothesis import strategies

# Schemathesis narrows the patterns of headers in a way that loses the quotes of an ETag.
schemathesis.openapi.format("etag", strategies.integers(0, 10**17).map(lambda version: f'"v{version}"'))


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


@schemathesis.hook
def map_body(context, body):
    """JSON Schema counts 5.0 among the integers; we take integers as they are written, without a fraction."""
    return whole(body)


def whole(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return value
