"""ASGI 3 apps: https://asgi.readthedocs.io/en/latest/specs/. All requests of a sandbox run in one event loop, in the main thread."""
import asyncio

from .lifespan import Lifespan
from .request import InvalidResponse
from .tasks import Tasks
from .web import NO_BODY, Target, checked, refusal

VERSIONS = {'version': '3.0', 'spec_version': '2.4'}


class Asgi(Tasks):
    contract = 'fetch'

    def __init__(self, host, app, spec):
        super().__init__(host, app, spec)
        self._lifespan = Lifespan(self._loop, app, VERSIONS)
        self._lifespan.start()

    def _cancel(self, request, context, task):
        context.cancelled.set()
        # A caller who has gone is the app's to notice; when time is over, nothing is left to wait for.
        if request.cancelled == 'deadline':
            self._loop.call_soon_threadsafe(task.cancel)

    async def _serve(self, request, context):
        try:
            refused = refusal(request, 'an ASGI app')
            if refused:
                return self._host.refuse(request, *refused)
            exchange = _Exchange(self._loop, request)
            await self._handler(self._scope(request, context), exchange.receive, exchange.send)
            if not exchange.complete and not request.cancelled:
                raise InvalidResponse('the app returned before its answer had ended')
            request.finish()
        except InvalidResponse as error:
            self._host.fail(request, error, 'invalid_response')
        except BaseException as error:
            self._host.fail(request, error)

    def _scope(self, request, context):
        target = Target(request)
        names_and_values = [text.encode('latin-1', 'replace') for text in request.headers]
        return {
            'type': 'http',
            'asgi': VERSIONS,
            'http_version': '1.1',
            'method': request.method,
            'scheme': target.scheme,
            # As uvicorn has it, and Starlette and Django expect it: root_path is the start of path.
            'path': target.prefix + target.path.decode('utf-8', 'replace'),
            'raw_path': target.prefix.encode() + target.raw_path,
            'query_string': target.query.encode('latin-1', 'replace'),
            'root_path': target.prefix,
            'headers': list(zip(names_and_values[::2], names_and_values[1::2])),
            'client': (target.client, 0) if target.client else None,
            'server': (target.host, target.port),
            'state': self._lifespan.state.copy(),
            'extensions': {},
            'hostel.context': context,
        }


class _Exchange:
    """The two channels of one request."""

    def __init__(self, loop, request):
        self._loop = loop
        self._request = request
        self._body_given = False
        self._status = None
        self._headers = None
        self._begun = False
        self.complete = False
        # Of those who wait in `receive`.
        self._waiting = set()

    async def receive(self):
        request = self._request
        while not self.complete and not request.cancelled:
            event = asyncio.Event()
            self._waiting.add(event)
            if self._body_given:
                # Only the caller's going or the answer's end is left to wait for.
                request.watch(self._wake_later)
            else:
                came = request.read(self._wake_later)
                if came is not None and not request.cancelled:
                    self._waiting.discard(event)
                    data, more = came
                    self._body_given = not more
                    return {'type': 'http.request', 'body': data, 'more_body': more}
            try:
                await event.wait()
            finally:
                self._waiting.discard(event)
        return {'type': 'http.disconnect'}

    async def send(self, message):
        if self._request.cancelled:
            raise OSError('nobody waits for this answer any more')
        kind = message['type']
        if kind == 'http.response.start' and self._status is None:
            self._status = message['status']
            self._headers = checked(self._status, [(_text(name), _text(value)) for name, value in message.get('headers', ())])
        elif kind == 'http.response.body' and self._status is not None and not self.complete:
            await self._send_body(message.get('body', b''), message.get('more_body', False))
        else:
            raise RuntimeError(f'the app sent {kind!r:.100} out of turn')

    async def _send_body(self, data, more):
        request = self._request
        if request.method == 'HEAD' or self._status in NO_BODY:
            data = b''
        if not more:
            self.complete = True
        if self._begun or more:
            if not self._begun:
                self._begun = True
                request.begin(self._status, self._headers)
            drained = asyncio.Event()
            if data and not request.write(data, lambda: self._loop.call_soon_threadsafe(drained.set)):
                await drained.wait()
            if not more:
                request.end()
        else:
            request.answer(self._status, self._headers, bytes(data))
        if self.complete:
            self._wake()

    def _wake(self):
        for event in self._waiting:
            event.set()

    def _wake_later(self):
        self._loop.call_soon_threadsafe(self._wake)


def _text(data):
    return bytes(data).decode('latin-1')
