"""Handlers that are plain functions, each request in a thread: first the main one, more as needed."""
import threading
from _queue import SimpleQueue

from .context import Context, InvalidEvent, answer_of, event_of
from .events import piece
from .logs import current
from .request import InvalidResponse

# A sandbox has 128 processes and threads; the function's own need some too. Further requests wait for a thread.
THREADS_MAX = 64


class Workers:
    contract = 'event'

    def __init__(self, host, handler, spec):
        self._host = host
        self._handler = handler
        self._spec = spec
        self._queue = SimpleQueue()
        # Threads that wait, less the requests put for them: the main one counts as waiting from the start.
        self._idle = 1
        self._threads = 1
        self._threads_max = min(spec['concurrency'], THREADS_MAX)

    def take(self, request):
        self._queue.put(request)
        with self._host.wire.lock:
            self._idle -= 1
            if self._idle >= 0 or self._threads >= self._threads_max:
                return
            self._threads += 1
            self._idle += 1
        try:
            threading.Thread(target=self.run, name=f'hostel-{self._threads}', daemon=True).start()
        except RuntimeError:  # no more threads: those there are will come to it
            with self._host.wire.lock:
                self._threads -= 1
                self._idle -= 1

    def run(self):
        """Serves requests for ever."""
        while True:
            try:
                request = self._queue.get()
                if request.start():
                    self._serve(request)
                with self._host.wire.lock:
                    self._idle += 1
            except BaseException as error:  # raised by a signal handler between two requests
                self._host.log_loose_error(error)

    def _serve(self, request):
        current.set(request)
        try:
            context = Context(request, self._spec)
            request.on_cancel = context.cancelled.set
            if request.cancelled:
                context.cancelled.set()
            result = self._handler(event_of(request, self._spec), context)
            if hasattr(result, '__await__'):
                result = _wait_for(result)
            status, headers, body = answer_of(request, result)
            if isinstance(body, bytes):
                request.complete(status, headers, body)
            else:
                self._stream(request, status, headers, body)
        except InvalidEvent as error:
            self._host.refuse(request, 400, str(error))
        except InvalidResponse as error:
            self._host.fail(request, error, 'invalid_response')
        except BaseException as error:
            self._host.fail(request, error)
        finally:
            current.set(None)

    def _stream(self, request, status, headers, body):
        if not hasattr(body, '__iter__'):
            raise InvalidResponse('body is an asynchronous iterator; that takes an `async def` handler')
        request.begin(status, headers)
        drained = threading.Semaphore(0)
        try:
            for chunk in body:
                if not request.write(piece(chunk), drained.release):
                    drained.acquire()
                if request.cancelled:
                    break
        finally:
            if hasattr(body, 'close'):
                body.close()
        request.finish()


def _wait_for(awaitable):
    """A plain function around an `async def`, as decorators make them: a loop for this one call."""
    import asyncio

    async def wait():
        return await awaitable
    return asyncio.run(wait())
