"""What the function prints and logs, as one LOG frame a line with the request it belongs to."""
import io
import os
import sys
from collections import deque
from contextvars import ContextVar

from .wire import LOG, frame

STDOUT, STDERR, DEBUG, INFO, WARN, ERROR = 1, 2, 3, 4, 5, 6

LINE_MAX_BYTES = 16_384
CUT_MARK = '… [cut]'.encode()

# The request in hand in this thread or task.
current = ContextVar('hostel_request', default=None)


class Logs:
    def __init__(self, wire, requests):
        self._wire = wire
        self._requests = requests
        # (stream, level) → the start of a line; None while the rest of a line that was cut is thrown away.
        self._partial = {}
        self._writing = False
        self._late = deque()

    def install(self):
        """From here on sys.stdout, sys.stderr and the logging module write to the host."""
        sys.stdout = _text_file(_LogFile(self, STDOUT))
        sys.stderr = _text_file(_LogFile(self, STDERR))
        sys.meta_path.insert(0, _LoggingFinder(self))

    def write(self, level, data):
        """Takes any bytes; whole lines go out at once, the rest waits for its line break or the invocation's end."""
        if self._wire.fd is None:  # a forked child: its output bypasses the shim, as any other process's does
            os.write(2 if level == STDERR else 1, data)
            return
        with self._wire.lock:
            self._late.append((self._stream(), level, data))
            if self._writing:
                return  # a signal handler or a finaliser prints while its own thread is in here: the outer call goes on with it
            self._writing = True
            try:
                while self._late:
                    self._take(*self._late.popleft())
            finally:
                self._writing = False

    def _take(self, stream, level, data):
        key = (stream, level)
        start = self._partial.pop(key, b'')
        *lines, rest = data.split(b'\n')
        if lines:
            if start is None:
                lines = lines[1:]
            else:
                lines[0] = start + lines[0]
            start = b''
            self._wire.send(b''.join([self._frame(level, stream, line) for line in lines]))
        if start is not None:
            rest = start + rest
            if len(rest) > LINE_MAX_BYTES:
                self._wire.send(self._frame(level, stream, rest))
                start = None
        if start is None:
            self._partial[key] = None
        elif rest:
            self._partial[key] = rest

    def message(self, level, text):
        """A message of one or more whole lines."""
        data = text.encode('utf-8', 'backslashreplace')
        if self._wire.fd is None:
            os.write(2, data + b'\n')
            return
        with self._wire.lock:
            stream = self._stream()
            self._wire.send(b''.join([self._frame(level, stream, line) for line in data.split(b'\n')]))

    def flush(self, stream):
        """Sends the unfinished lines of a request, or with 0 those of none. Call with the wire's lock held."""
        if not self._partial:
            return
        for level in (STDOUT, STDERR):
            rest = self._partial.pop((stream, level), None)
            if rest:
                self._wire.send(self._frame(level, stream, rest))

    def _stream(self):
        request = current.get()
        if request is not None:
            # Work that outlives its invocation belongs to none: the host may have forgotten the stream.
            return 0 if request.settled else request.stream
        # A thread that the handler started knows nothing of it; with one request running there is no doubt.
        running = [r.stream for r in self._requests.values() if r.running] if len(self._requests) == 1 else ()
        return running[0] if running else 0

    def _frame(self, level, stream, line):
        if line.endswith(b'\r'):
            line = line[:-1]
        if not line.isascii():
            line = line.decode('utf-8', 'replace').encode()
        if len(line) > LINE_MAX_BYTES:
            line = line[:LINE_MAX_BYTES - len(CUT_MARK)].decode('utf-8', 'ignore').encode() + CUT_MARK
        return frame(LOG, 0, stream, bytes((level,)) + line)


class _LogFile(io.RawIOBase):
    """Stands behind sys.stdout and sys.stderr; `fileno` is the real descriptor, so that it can be given to a subprocess."""

    def __init__(self, logs, level):
        self._logs = logs
        self._level = level

    def writable(self):
        return True

    def fileno(self):
        return self._level

    def write(self, data):
        data = bytes(data)
        self._logs.write(self._level, data)
        return len(data)


def _text_file(raw):
    return io.TextIOWrapper(raw, encoding='utf-8', errors='backslashreplace', newline='\n', write_through=True)


class _LoggingFinder:
    """Fits the logging module to us when, and only if, it is imported: 7 ms and 1 MiB that a plain handler need not pay."""

    def __init__(self, logs):
        self._logs = logs

    def find_spec(self, name, path=None, target=None):
        if name != 'logging':
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            if hasattr(module, 'StreamHandler'):
                _fit_logging(module, self._logs)
        spec.loader.exec_module = exec_module
        return spec


def _fit_logging(logging, logs):
    """Levels reach the host, INFO and above shows without any set-up, and basicConfig still does what it says."""
    write_record = logging.StreamHandler.emit

    def emit(handler, record):
        if not isinstance(getattr(handler.stream, 'buffer', None), _LogFile):
            return write_record(handler, record)
        try:
            logs.message(_level_of(record.levelno), handler.format(record))
        except Exception:
            handler.handleError(record)
    logging.StreamHandler.emit = emit

    default = logging.StreamHandler(sys.stderr)
    root = logging.getLogger()
    root.addHandler(default)
    root.setLevel(logging.INFO)
    configure = logging.basicConfig

    def basic_config(**options):
        if root.handlers == [default]:
            root.removeHandler(default)
        configure(**options)
    logging.basicConfig = basic_config


def _level_of(number):
    return DEBUG if number <= 10 else INFO if number <= 20 else WARN if number <= 30 else ERROR
