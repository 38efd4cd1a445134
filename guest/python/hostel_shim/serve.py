"""The shim's life: a spare waits in one thread; once specialised, the main thread is the function's and a second one is the host's reader.

The reader never runs the function's code, so that it answers PING while a handler computes. Handlers run in the main thread
and, when several requests are in hand, in further ones, and so do WSGI apps; `async def` handlers and ASGI apps run as tasks of an
event loop in the main thread.
"""
import json
import os
import threading
from struct import error as StructError

from . import wire as w
from .loading import InitError
from .logs import ERROR, Logs
from .request import EVENT_MAX_BYTES, Request, encode_json, error_payload
from .wire import Fault, Wire, die, frame

_parse = json.JSONDecoder().decode


def run(root, runtime, version, make_runner):
    """Serves for ever. `make_runner(host, root, spec)` loads the function; what it raises fails the start."""
    host = Host(root, runtime, version)
    spec = host.read()
    host.logs.install()
    threading.excepthook = host.log_thread_error
    threading.Thread(target=host.read, name='hostel-reader', daemon=True).start()
    try:
        runner = make_runner(host, root, spec)
    except BaseException as error:
        host.fail_init(error)
    host.specialised(runner)
    runner.run()


class Host:
    """The host as the shim sees it: the stream, the requests in hand, and what each frame does."""

    def __init__(self, root, runtime, version):
        self.root = root
        self._ready = {'protocol': 1, 'runtime': runtime, 'runtimeVersion': version}
        self.wire = Wire()
        # Stream → Request, for those not settled.
        self.requests = {}
        self.logs = Logs(self.wire, self.requests)
        self._frames = self.wire.frames(self._may_move)
        self._last_stream = 0
        self._specialising = False
        self._runner = None
        # Frames of requests that came before the function was loaded; the window bounds them.
        self._waiting = []

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self):
        """Obeys the host until its SPECIALISE, whose message it returns; the second call never returns."""
        with _faults_are_fatal:
            for kind, flags, stream, payload in self._frames:
                if kind == w.SPECIALISE and self.wire.greeted and not self._specialising:
                    self._specialising = True
                    return _parse(payload.decode())
                self._obey(kind, flags, stream, payload)
        # Both streams have ended, or the first while a request was in hand: nobody is left to answer to.
        os._exit(0)

    def _obey(self, kind, flags, stream, payload):
        if kind == w.HELLO:
            self._hello(_parse(payload.decode()))
        elif not self.wire.greeted:
            raise Fault(f'frame 0x{kind:02x} before HELLO')
        elif kind == w.PING:
            self.wire.send(frame(w.PONG, 0, 0, payload))
        elif kind in (w.REQUEST_HEAD, w.REQUEST_BODY, w.CANCEL, w.CREDIT):
            with self.wire.lock:
                if self._runner is None:
                    if not self._specialising:
                        raise Fault('a request before SPECIALISE')
                    self._waiting.append((kind, flags, stream, payload))
                    return
            self._obey_request(kind, flags, stream, payload)
        else:
            raise Fault(f'unexpected frame of type 0x{kind:02x}')

    def _obey_request(self, kind, flags, stream, payload):
        if kind == w.REQUEST_HEAD:
            if stream <= self._last_stream:
                raise Fault(f'a request on stream {stream} after one on {self._last_stream}')
            self._last_stream = stream
            streamed = self._runner.contract == 'fetch'
            request = Request(self, stream, _parse(payload.decode()), streamed)
            with self.wire.lock:
                self.requests[stream] = request
            # What follows a handshake is no body; no runner here accepts one, so it is answered as an ordinary request.
            ended = flags & w.END or 'upgrade' in request.meta
            if ended and streamed:
                request.receive(b'', True)
            if ended or streamed:
                self._runner.take(request)
            return
        if not 0 < stream <= self._last_stream:
            raise Fault(f'frame 0x{kind:02x} for stream {stream}, which was never opened')
        request = self.requests.get(stream)
        if request is None:
            return  # settled: the two have crossed
        if kind == w.REQUEST_BODY and 'upgrade' in request.meta:
            return
        if kind == w.REQUEST_BODY:
            request.receive(payload, flags & w.END)
            if self._runner.contract == 'fetch':
                return  # the runner has it since its head came
            if request.received_bytes > EVENT_MAX_BYTES:
                self.refuse(request, 413, f'an event handler takes at most {EVENT_MAX_BYTES} bytes')
            elif flags & w.END:
                self._runner.take(request)
        elif kind == w.CREDIT:
            request.credit(*w.u32.unpack(payload))
        else:
            request.cancel(_parse(payload.decode()).get('reason', 'no reason given'))

    def _hello(self, message):
        if self.wire.greeted:
            raise Fault('a second HELLO')
        if message.get('protocol') != 1:
            raise Fault(f'protocol {message.get("protocol")} is not spoken here, only 1')
        with self.wire.lock:  # no log line gets in front of READY
            # A new host counts its requests from 1 again.
            self._last_stream = 0
            self.wire.greeted = True
            self._send(w.READY, self._ready)

    def refuse(self, request, status, text):
        """An answer of the shim's own: the request is no event for a handler."""
        request.complete(status, ['content-type', 'text/plain; charset=utf-8'], f'{text}\n'.encode())

    def _may_move(self):
        """At the end of fd 3: whether this sandbox is idle, hence of use to the host's successor."""
        with self.wire.lock:
            return not self.requests and (self._runner is not None or not self._specialising)

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def specialised(self, runner):
        with self.wire.lock:
            self.logs.flush(0)
            self._send(w.SPECIALISED, {'contract': runner.contract})
            self._runner = runner
            with _faults_are_fatal:
                for waiting in self._waiting:
                    self._obey_request(*waiting)
            self._waiting = None

    def fail_init(self, error):
        """Tells the host why, and waits for it to end the sandbox."""
        from .errors import describe
        message = None
        if isinstance(error, SystemExit):
            message = f'the module called sys.exit({_exit_code(error)}) while it was loaded'
        elif isinstance(error, ModuleNotFoundError) and error.name:
            message = f"{error} — `pip install --target . NAME` puts a package beside the code"
        described = describe(error, self.root, 'init', message)
        if isinstance(error, InitError):
            del described['stack']
        with self.wire.lock:
            self.logs.flush(0)
            self.wire.send(frame(w.INIT_FAILED, 0, 0, error_payload(described)))
        threading.Event().wait()

    def fail(self, request, error, kind='handler'):
        """The handler raised: an error log with the traceback, and the error instead of an answer."""
        from .errors import describe
        message = f'the handler called sys.exit({_exit_code(error)})' if isinstance(error, SystemExit) else None
        described = describe(error, self.root, kind, message)
        if kind == 'invalid_response':
            del described['stack']
        if not request.cancelled:
            self.logs.message(ERROR, described.get('stack') or described['message'])
        request.fail(described)

    def log_thread_error(self, args):
        """threading.excepthook: an error in a thread of the function's own ends that thread and nothing else."""
        if args.exc_type is not SystemExit:
            self.log_loose_error(args.exc_value or args.exc_type())

    def log_loose_error(self, error):
        """An error that belongs to no request."""
        from .errors import describe
        self.logs.message(ERROR, describe(error, self.root)['stack'])

    def _send(self, kind, message):
        self.wire.send(frame(kind, 0, 0, encode_json(message).encode()))


def _exit_code(error):
    return '' if error.code is None else repr(error.code)[:100]


class _FaultsAreFatal:
    """Errors of the reader: none of the function's code runs below it, so they are the host's or our own."""

    def __enter__(self):
        pass

    def __exit__(self, kind, error, traceback):
        if isinstance(error, Fault):
            die(f'the host broke the protocol: {error}')
        if isinstance(error, (ValueError, KeyError, TypeError, AttributeError, StructError)):
            die(f'the host broke the protocol: a payload that does not fit: {kind.__name__}: {error}')
        if isinstance(error, Exception):
            die(f'{kind.__name__}: {error}')


_faults_are_fatal = _FaultsAreFatal()
