#!/usr/bin/env python3
"""Drives the OpenFeature SDK for Python: one question a line on standard input, one answer a line on standard output.

client.py BASE_URL        {"type": "Boolean", "key": "f", "default": false, "context": {"targetingKey": "u"}}
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

api.set_provider(OFREPProvider(sys.argv[1]))
client = api.get_client()

for line in sys.stdin:
    question = json.loads(line)
    attributes = question.get("context", {})
    context = EvaluationContext(attributes.pop("targetingKey", None), attributes)
    evaluate = getattr(client, f"get_{question['type'].lower()}_details")
    details = evaluate(question["key"], question["default"], context)
    answer = {
        "value": details.value,
        "variant": details.variant,
        "reason": details.reason,
        "errorCode": details.error_code,
        "errorMessage": details.error_message,
        "flagMetadata": dict(details.flag_metadata),
        "python_type": type(details.value).__name__,
    }
    print(json.dumps(answer), flush=True)
