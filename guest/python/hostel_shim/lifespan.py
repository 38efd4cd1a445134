"""ASGI's lifespan: start-up before the sandbox is specialised, shutdown when it is told to end."""
import asyncio
import os
import signal

from .loading import InitError

# The host kills a sandbox some time after it has told it to end; an app that takes longer than this is cut off.
SHUTDOWN_TIMEOUT_S = 2
# For the exception behind `lifespan.startup.failed`, which most frameworks raise right after that message.
CAUSE_TIMEOUT_S = 1


class Lifespan:
    def __init__(self, loop, app, versions):
        self._loop = loop
        self._app = app
        self._versions = versions
        # What start-up puts here comes with each request.
        self.state = {}
        self._task = None
        self._messages = asyncio.Queue()
        self._answer = None
        self._answered = asyncio.Event()

    def start(self):
        """@raise BaseException: what made the app's start-up fail."""
        self._loop.run_until_complete(self._start())

    async def _start(self):
        scope = {'type': 'lifespan', 'asgi': self._versions, 'state': self.state}
        self._messages.put_nowait({'type': 'lifespan.startup'})
        self._task = self._loop.create_task(self._run(scope))
        if not await self._wait(None):
            return  # It knows nothing of lifespans.
        if self._answer['type'] == 'lifespan.startup.failed':
            await asyncio.wait({self._task}, timeout=CAUSE_TIMEOUT_S)
            cause = self._task.result() if self._task.done() else None
            raise cause or InitError(f'the app says that its start-up failed: {self._answer.get("message") or "it gave no reason"}')
        self._loop.add_signal_handler(signal.SIGTERM, lambda: self._loop.create_task(self._stop()))

    async def _run(self, scope):
        try:
            await self._app(scope, self._messages.get, self._send)
        except Exception as error:
            return error
        return None

    async def _send(self, message):
        self._answer = message
        self._answered.set()

    async def _wait(self, timeout_s):
        """Whether the app answered; it may end without."""
        answer = self._loop.create_task(self._answered.wait())
        await asyncio.wait({self._task, answer}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()
        return self._answered.is_set()

    async def _stop(self):
        self._answered.clear()
        self._messages.put_nowait({'type': 'lifespan.shutdown'})
        await self._wait(SHUTDOWN_TIMEOUT_S)
        os._exit(0)
