# A Python handler: over HTTP it gets the request as an event and returns status, headers and body.
#
#   hostel deploy examples/python
#   hostel invoke python --method POST --data 'the quick brown fox jumps over the lazy dog'

import base64
import collections


def handler(event, context):
    text = event.get("body") or "Hello from Python"
    if event.get("isBase64Encoded"):
        text = base64.b64decode(text).decode()
    words = collections.Counter(text.lower().split())
    print(f"counted {words.total()} words")
    lines = [f"{count}  {word}" for word, count in words.most_common(10)]
    return {
        "statusCode": 200,
        "headers": {"content-type": "text/plain; charset=utf-8"},
        "body": "\n".join(lines) + "\n",
    }
