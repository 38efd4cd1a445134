"""The process of one request, from its start to its end, in one thread that waits for all of its pipes."""
import os
import select
import time

from hostel_shim.logs import STDERR

from .answer import Output
from .endings import explain

# How long the first output is held back, and the end of the answer after that of the output: a program that fails soon is
# answered with an error and not with half an answer, or one that looks whole.
HOLD_S = 0.025
END_HOLD_S = 0.1
HOLD_BYTES = 65_536
# From SIGTERM to SIGKILL after a cancellation; less than the host waits before it suspects the sandbox.
TERM_GRACE_S = 0.3
# For the rest of the output once the program has ended, while something that it left behind holds the pipes.
DRAIN_S = 0.2
READ_BYTES = 65_536
_SIGTERM, _SIGKILL, _SIGPIPE = 15, 9, 13


class ProgramFailed(Exception):
    """It could not be started, or said by its end that it failed."""


class Process:
    def __init__(self, host, request, program, variables):
        self._host = host
        self._request = request
        self._output = Output(request.method)
        # Body that the program has not taken yet, and whether more comes.
        self._input = memoryview(b'')
        self._more = True
        # Of the answer: what is not sent yet, since when, whether the head is out, and whether the host has credit for more.
        self._held = b''
        self._held_since = None
        self._begun = False
        self._end_at = None
        self._ended = False
        self._drained = True
        self._kill_at = None
        self._killed = False
        self._drain_until = None
        self._status = None
        self._start(program, variables)

    def _start(self, program, variables):
        stdin, self._stdin = os.pipe()
        self._stdout, stdout = os.pipe()
        self._stderr, stderr = os.pipe()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pid = self._pidfd = None
        for fd in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(fd, False)
        try:
            actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate((stdin, stdout, stderr))]
            self._pid = os.posix_spawn(program, [program], variables, file_actions=actions, setpgroup=0, setsigdef=[_SIGPIPE])
            self._pidfd = os.pidfd_open(self._pid)
        except OSError as error:
            self.__exit__()
            raise ProgramFailed(f'the program could not be started: {error.strerror}') from None
        finally:
            for fd in (stdin, stdout, stderr):
                os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing of the program outlives its request."""
        if self._status is None and self._pid is not None:
            self._reap()
        with self._host.wire.lock:  # no wake-up goes to a descriptor that is somebody else's by now
            for name in ('_wake', '_stdin', '_stdout', '_stderr', '_pidfd'):
                self._close(name)

    def run(self):
        request = self._request
        request.on_cancel = self._awake
        while not self._is_over():
            self._feed()
            readers = [fd for fd in (self._wake, self._pidfd, self._stderr, self._stdout if self._drained else None) if fd is not None]
            ready, _, _ = select.select(readers, [self._stdin] if self._input else [], [], self._timeout_s())
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if request.cancelled:
                self._cancel()
            if self._stderr in ready:
                self._read_log()
            if self._stdout in ready:
                self._read_output()
            if self._pidfd in ready:
                self._reap()
                self._drain_until = time.monotonic() + DRAIN_S
            if not request.cancelled:
                self._send()
        self._finish()

    def _is_over(self):
        if self._status is None:
            return False
        if self._request.cancelled or (self._drained and time.monotonic() >= self._drain_until):
            return True
        return self._stdout is None and self._stderr is None and not (self._begun and self._held)

    def _timeout_s(self):
        moments = []
        if self._status is None and self._kill_at is not None and not self._killed:
            moments.append(self._kill_at)
        if self._status is None and self._output.headers is not None and not self._begun:
            moments.append(self._end_at or self._held_since + HOLD_S)
        if self._status is None and self._begun and self._end_at is not None and self._drained and not self._ended:
            moments.append(self._end_at)
        if self._status is not None and self._drained:
            moments.append(self._drain_until)
        return max(0, min(moments) - time.monotonic()) if moments else None

    def _feed(self):
        """Hands the body on, as far as the program takes it."""
        while self._stdin is not None:
            if not self._input and self._more:
                came = self._request.read(self._awake)
                if came is None:
                    return
                data, self._more = came
                self._input = memoryview(data)
            try:
                if self._input and not self._request.cancelled:
                    self._input = self._input[os.write(self._stdin, self._input):]
            except BlockingIOError:
                return
            except OSError:  # it reads no more
                self._input, self._more = memoryview(b''), False
            if self._request.cancelled or not self._input and not self._more:
                self._input = memoryview(b'')
                self._close('_stdin')

    def _read_log(self):
        data = os.read(self._stderr, READ_BYTES)
        if data:
            self._host.logs.write(STDERR, data)
        else:
            self._close('_stderr')

    def _read_output(self):
        data = os.read(self._stdout, READ_BYTES)
        if not data:
            self._close('_stdout')
            self._end_at = time.monotonic() + END_HOLD_S
        if self._request.cancelled:
            return
        self._held += self._output.take(data, not data)
        if self._held_since is None:
            self._held_since = time.monotonic()

    def _send(self):
        request = self._request
        if self._output.headers is None or not self._drained:
            return
        if not self._begun:
            if self._status is not None or (len(self._held) < HOLD_BYTES and time.monotonic() < (self._end_at or self._held_since + HOLD_S)):
                return
            self._begun = True
            request.begin(self._output.status, self._output.headers)
        if self._held:
            data, self._held = self._held, b''
            self._drained = False
            if request.write(data, self._on_drained):
                self._drained = True
        if self._end_at is not None and self._drained and time.monotonic() >= self._end_at and self._status is None:
            self._ended = True
            request.end()

    def _on_drained(self):
        self._drained = True
        self._awake()

    def _cancel(self):
        self._drained = True
        if self._status is not None:
            return
        if self._kill_at is None:
            os.killpg(self._pid, _SIGTERM)
            self._kill_at = time.monotonic() + TERM_GRACE_S
        elif not self._killed and time.monotonic() >= self._kill_at:
            self._killed = True
            os.killpg(self._pid, _SIGKILL)

    def _reap(self):
        # Before the wait, while its number cannot be anybody else's. The group is there until then.
        os.killpg(self._pid, _SIGKILL)
        self._status = os.waitpid(self._pid, 0)[1]
        self._close('_pidfd')

    def _finish(self):
        request, output = self._request, self._output
        failure = None if request.cancelled else explain(os.waitstatus_to_exitcode(self._status))
        if failure:
            raise ProgramFailed(failure)
        if not request.cancelled and not self._begun:
            self._held += output.take(b'', True)
            headers = output.headers
            if self._held and 'content-length' not in headers[::2]:
                headers = [*headers, 'content-length', str(len(self._held))]
            request.complete(output.status, headers, self._held)
        request.finish()

    def _awake(self):
        with self._host.wire.lock:
            if self._wake is not None:
                os.eventfd_write(self._wake, 1)

    def _close(self, name):
        fd = getattr(self, name)
        if fd is not None:
            setattr(self, name, None)
            os.close(fd)
