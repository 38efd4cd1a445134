"""One request in the shim's hands: its state, its answer, and the credit of both directions."""
import json
import time

from .wire import (CREDIT, END, PAYLOAD_MAX_BYTES, RESPONSE_BODY, RESPONSE_ERROR, RESPONSE_HEAD, SETTLED, SETTLED_TOO,
                   WINDOW_BYTES, Fault, frame, header, u32)

# A handler gets its event whole, so this much of a body is taken and no more.
EVENT_MAX_BYTES = 6 * 1024 * 1024
# Headers of an answer.
FIELDS_MAX = 200

encode_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode


class Request:
    """Every method may be called from any thread."""

    __slots__ = ('_wire', '_host', 'stream', 'method', 'url', 'headers', 'meta', 'deadline', 'parts', 'received_bytes',
                 '_window_bytes', '_streamed', '_body_ended', '_taken_bytes', '_on_body', 'running', 'answered', 'settled', 'cancelled', 'on_cancel', '_credit_bytes', '_rest', '_last', '_on_drained')

    def __init__(self, host, stream, head, streamed=False):
        """`streamed`: the body is taken with `read` while it comes, else it is kept whole in `parts`."""
        self._host = host
        self._wire = host.wire
        self.stream = stream
        self.method, self.url, self.headers, self.meta = head
        self.deadline = time.monotonic() + self.meta['deadlineMs'] / 1000
        self.parts = []
        self.received_bytes = 0
        self._window_bytes = WINDOW_BYTES
        self._streamed = streamed
        self._body_ended = False
        self._taken_bytes = 0
        self._on_body = None
        # The handler has it; the answer has ended; both are over and nothing more may be said.
        self.running = False
        self.answered = False
        self.settled = False
        # Why the host cancelled the request, once it has.
        self.cancelled = None
        # Called once, in the reader's thread, when the host cancels.
        self.on_cancel = None
        # What of the answer's body waits for credit, and whether it is the end of it.
        self._credit_bytes = WINDOW_BYTES
        self._rest = b''
        self._last = False
        self._on_drained = None

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, data, last):
        """Keeps a piece of the body. It is the reader's, as long as the handler has not begun."""
        self.received_bytes += len(data)
        self._window_bytes -= len(data)
        if self._window_bytes < 0:
            raise Fault(f'stream {self.stream} got more body than credit')
        if self._streamed:
            with self._wire.lock:
                if data and not self.cancelled:
                    self.parts.append(data)
                self._body_ended = bool(last)
                self._body_came()
            return
        self.parts.append(data)
        if not last and self._window_bytes <= WINDOW_BYTES // 2:
            self._wire.send(frame(CREDIT, 0, self.stream, u32.pack(WINDOW_BYTES - self._window_bytes)))
            self._window_bytes = WINDOW_BYTES

    def read(self, on_body):
        """(what has come of a streamed body since the last call, whether more will come). None: nothing yet; `on_body` will be called."""
        with self._wire.lock:
            if not self.parts and not self._body_ended and not self.cancelled:
                self._on_body = on_body
                return None
            data = b''.join(self.parts)
            self.parts.clear()
            self._taken_bytes += len(data)
            if self._taken_bytes >= WINDOW_BYTES // 2 and not self._body_ended and not self.settled and not self.cancelled:
                self._wire.send(frame(CREDIT, 0, self.stream, u32.pack(self._taken_bytes)))
                self._window_bytes += self._taken_bytes
                self._taken_bytes = 0
            return data, not self._body_ended

    def watch(self, on_cancelled):
        """Has `on_cancelled` called when the host cancels; for those who have read the whole body."""
        with self._wire.lock:
            self._on_body = on_cancelled
            if self.cancelled:
                self._body_came()

    def _body_came(self):
        call, self._on_body = self._on_body, None
        if call is not None:
            call()

    def start(self):
        """Gives the request to its handler. False: it was cancelled before."""
        with self._wire.lock:
            self.running = not self.settled
            return self.running

    def cancel(self, reason):
        with self._wire.lock:
            self.cancelled = reason
            if not self.answered:
                self._rest = b''
                self._send_error({'kind': 'handler', 'name': 'Cancelled', 'message': f'the request was cancelled: {reason}'})
            self._drained()
            self._body_came()
        if self.on_cancel is not None:
            self.on_cancel()

    def credit(self, amount):
        with self._wire.lock:
            self._credit_bytes += amount
            if not self.answered:
                self._push([])

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def complete(self, status, headers, body=b''):
        """The whole answer, after which the handler has nothing more to do."""
        head = _head(status, headers)
        with self._wire.lock:
            self._stop()
            if self.answered:
                self._settle()
            else:
                self._send_whole(head, body)

    def answer(self, status, headers, body=b''):
        """The whole answer, while the handler goes on until `finish`."""
        head = _head(status, headers)
        with self._wire.lock:
            if not self.answered:
                self._send_whole(head, body)

    def begin(self, status, headers):
        """The head of an answer whose body follows with `write`."""
        head = _head(status, headers)
        with self._wire.lock:
            if not self.answered:
                self._wire.send(frame(RESPONSE_HEAD, 0, self.stream, head))

    def write(self, data, on_drained):
        """A piece of the body, when the one before has gone. False: it waits for credit, and `on_drained` will be called."""
        with self._wire.lock:
            if self.answered:
                return True
            self._rest = memoryview(data)
            self._push([])
            if not self._rest:
                return True
            self._on_drained = on_drained
            return False

    def end(self):
        """The end of a body sent with `write`, while the handler goes on until `finish`."""
        with self._wire.lock:
            if not self.answered:
                self._last = True
                self._push([])

    def finish(self):
        """The end of the handler, and of a body sent with `write` if that has not ended before."""
        with self._wire.lock:
            self._stop()
            if self.answered:
                self._settle()
            else:
                self._last = True
                self._push([])

    def fail(self, error):
        """The handler has failed, before or in the middle of its answer."""
        with self._wire.lock:
            self._stop()
            if self.answered:
                self._settle()
            else:
                self._send_error(error)

    # ── state; all with the wire's lock held ────────────────────────────────────────────────────────────────────────

    def _send_whole(self, head, body):
        if body:
            self._rest, self._last = memoryview(body), True
            self._push([frame(RESPONSE_HEAD, 0, self.stream, head)])
        else:
            self._wire.send(frame(RESPONSE_HEAD, self._end(), self.stream, head))

    def _push(self, out):
        """Sends the frames in `out` and as much of the body as there is credit for."""
        while self._credit_bytes and self._rest:
            part = self._rest[:min(self._credit_bytes, PAYLOAD_MAX_BYTES)]
            self._rest = self._rest[len(part):]
            self._credit_bytes -= len(part)
            flags = self._end() if self._last and not self._rest else 0
            out += (header(RESPONSE_BODY, flags, self.stream, len(part)), part)
        if self._last and not self._rest and not self.answered:
            out.append(frame(RESPONSE_BODY, self._end(), self.stream))
        if out:
            self._wire.send(b''.join(out))
        if not self._rest:
            self._drained()

    def _drained(self):
        call, self._on_drained = self._on_drained, None
        if call is not None:
            call()

    def _send_error(self, error):
        self._wire.send(frame(RESPONSE_ERROR, self._end(), self.stream, error_payload(error)))

    def _stop(self):
        if self.running:
            self._host.logs.flush(self.stream)
            self.running = False

    def _end(self):
        """Flags of the answer's last frame."""
        self.answered = True
        if self.running:
            return END
        self._forget()
        return END | SETTLED_TOO

    def _settle(self):
        if not self.settled:
            self._forget()
            self._wire.send(frame(SETTLED, 0, self.stream))

    def _forget(self):
        self.settled = True
        requests = self._host.requests
        requests.pop(self.stream, None)
        if not requests:
            self._host.logs.flush(0)


class InvalidResponse(Exception):
    """What the handler gave back is no answer."""


def _head(status, headers):
    if len(headers) > 2 * FIELDS_MAX:
        raise InvalidResponse(f'the answer has {len(headers) // 2} headers; the limit is {FIELDS_MAX}')
    head = encode_json([status, headers]).encode()
    if len(head) > PAYLOAD_MAX_BYTES:
        raise InvalidResponse(f'the headers of the answer take {len(head)} bytes; the limit is {PAYLOAD_MAX_BYTES}')
    return head


def error_payload(error):
    """A description from errors.py as JSON; without the stack if that makes it too large."""
    payload = encode_json(error).encode('utf-8', 'replace')
    if len(payload) <= PAYLOAD_MAX_BYTES:
        return payload
    return encode_json({key: value for key, value in error.items() if key != 'stack'}).encode('utf-8', 'replace')
