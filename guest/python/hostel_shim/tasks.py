"""Handlers that are `async def`, each request a task of the event loop in the main thread. Imported only for these: asyncio takes 5 MiB."""
import asyncio
import contextvars

from .context import Context, InvalidEvent, answer_of, event_of
from .events import piece
from .logs import current
from .request import InvalidResponse


class Tasks:
    contract = 'event'

    def __init__(self, host, handler, spec):
        self._host = host
        self._handler = handler
        self._spec = spec
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        # The loop itself holds tasks weakly.
        self._tasks = set()

    def take(self, request):
        self._loop.call_soon_threadsafe(self._start, request)

    def run(self):
        """Serves requests for ever."""
        while True:
            try:
                self._loop.run_forever()
            except BaseException as error:  # sys.exit in a task of the function's own, or raised by a signal handler
                self._host.log_loose_error(error)

    def _start(self, request):
        if not request.start():
            return
        scope = contextvars.copy_context()
        scope.run(current.set, request)
        context = Context(request, self._spec)
        task = self._loop.create_task(self._serve(request, context), context=scope)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel():
            self._cancel(request, context, task)
        request.on_cancel = cancel
        if request.cancelled:
            cancel()

    def _cancel(self, request, context, task):
        context.cancelled.set()
        self._loop.call_soon_threadsafe(task.cancel)

    async def _serve(self, request, context):
        try:
            result = await self._handler(event_of(request, self._spec), context)
            status, headers, body = answer_of(request, result)
            if isinstance(body, bytes):
                request.complete(status, headers, body)
            else:
                await self._stream(request, status, headers, body)
        except InvalidEvent as error:
            self._host.refuse(request, 400, str(error))
        except InvalidResponse as error:
            self._host.fail(request, error, 'invalid_response')
        except BaseException as error:
            self._host.fail(request, error)

    async def _stream(self, request, status, headers, body):
        request.begin(status, headers)
        chunks = body if hasattr(body, '__aiter__') else _as_async(body)
        try:
            async for chunk in chunks:
                drained = asyncio.Event()
                if not request.write(piece(chunk), lambda: self._loop.call_soon_threadsafe(drained.set)):
                    await drained.wait()
                if request.cancelled:
                    break
        finally:
            if hasattr(chunks, 'aclose'):
                await chunks.aclose()
        request.finish()


async def _as_async(chunks):
    for chunk in chunks:
        yield chunk
