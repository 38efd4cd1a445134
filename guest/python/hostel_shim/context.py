"""The second argument of a handler, and the first."""
import json
import threading
import time

from .events import JSON_HEADERS, http_answer, http_event, json_body


class Context:
    """AWS Lambda's names where it has them."""

    def __init__(self, request, spec):
        self._request = request
        self.aws_request_id = self.invocation_id = request.meta['id']
        self.tenant = spec['tenant']
        self.function_name = spec['function']
        self.function_version = str(spec['version'])
        self.memory_limit_in_mb = spec['memoryMiB']
        self.traceparent = request.meta.get('traceparent')
        # Set when the host no longer waits for an answer: the client has gone, or the deadline has passed.
        self.cancelled = threading.Event()

    def get_remaining_time_in_millis(self):
        return max(0, int((self._request.deadline - time.monotonic()) * 1000))

    def is_cancelled(self):
        return self.cancelled.is_set()


class InvalidEvent(Exception):
    """The body should have been a JSON event and is not."""


def event_of(request, spec):
    """@raise InvalidEvent"""
    body = b''.join(request.parts)
    request.parts = None
    if not request.meta.get('event'):
        return http_event(request, spec, body)
    try:
        return json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f'the event is not JSON: {error}') from None


def answer_of(request, result):
    """(status, flat headers, body). @raise InvalidResponse"""
    if request.meta.get('event'):
        return 200, JSON_HEADERS, json_body(result)
    return http_answer(result, request.method)
