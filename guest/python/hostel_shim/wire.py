"""Frames of the sandbox protocol, version 1: docs/reference/sandbox-protocol.md has the rules."""
import os
import struct
import threading
from collections import deque

HELLO, READY, SPECIALISE, SPECIALISED, INIT_FAILED = 0x01, 0x02, 0x03, 0x04, 0x05
REQUEST_HEAD, REQUEST_BODY, CANCEL = 0x10, 0x11, 0x12
RESPONSE_HEAD, RESPONSE_BODY, RESPONSE_ERROR, SETTLED = 0x20, 0x21, 0x22, 0x23
CREDIT, LOG, PING, PONG = 0x30, 0x31, 0x32, 0x33

# Flags.
END, SETTLED_TOO = 0x01, 0x02

PAYLOAD_MAX_BYTES = 65_536
WINDOW_BYTES = 262_144
# Below malloc's mmap threshold of 128 KiB, so that a read of a few bytes costs no system call for memory.
READ_BYTES = 65_536

_header = struct.Struct('>IBBI')
HEADER_BYTES = _header.size

u32 = struct.Struct('>I')


def header(kind, flags, stream, length):
    return _header.pack(length, kind, flags, stream)


def frame(kind, flags, stream, payload=b''):
    return _header.pack(len(payload), kind, flags, stream) + payload


class Fault(Exception):
    """The host broke the protocol. It is trusted, so this is a mistake of ours: say so and exit."""


def die(message, code=70):
    """Ends the process with a line on the real standard error, which the keeper keeps."""
    os.write(2, f'hostel shim: {message}\n'.encode('utf-8', 'replace'))
    os._exit(code)


class Wire:
    """The stream to the host: fd 3, or fd 4 once fd 3 has ended. Whole frames go out, from any thread."""

    def __init__(self):
        self.fd = 3
        # The host speaks first: until its HELLO on this descriptor nothing may be sent there.
        self.greeted = False
        # Guards all state that frames depend on, not just the descriptor. Reentrant, since a signal handler or a
        # finaliser may print at any moment in the thread that holds it.
        self.lock = threading.RLock()
        self._sending = False
        self._late = deque()
        os.set_blocking(3, True)
        os.set_inheritable(3, False)
        try:
            os.set_blocking(4, True)
            os.set_inheritable(4, False)
            self._spare_fd = 4
        except OSError:
            self._spare_fd = None  # started without it: then the end of fd 3 is the end
        os.register_at_fork(after_in_child=self._forget)

    def send(self, data):
        """Sends whole frames; waits while the host does not read."""
        with self.lock:
            if self.fd is None or not self.greeted:
                return
            self._late.append(data)
            if self._sending:
                return  # we interrupted ourselves in the middle of a frame: the outer call sends this one after it
            self._sending = True
            try:
                while self._late:
                    self._write_all(self._late.popleft())
            except OSError:
                self._late.clear()  # the host is gone; the reader sees that too and decides
            except BaseException as error:
                die(f'{type(error).__name__} raised by a signal handler broke off a frame')
            finally:
                self._sending = False

    def _write_all(self, data):
        sent = os.write(self.fd, data)
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            rest = rest[os.write(self.fd, rest):]

    def frames(self, may_move):
        """Yields (type, flags, stream, payload) until both descriptors have ended. `may_move()` is asked at the end of fd 3."""
        held = b''
        while True:
            try:
                chunk = os.read(self.fd, READ_BYTES)
            except OSError:  # reset: as good as an end
                chunk = b''
            if not chunk:
                # A host that died may have left half a frame.
                held = b''
                if self._spare_fd is None or not may_move():
                    return
                self._move()
                continue
            data = held + chunk if held else chunk
            at, size = 0, len(data)
            while size - at >= HEADER_BYTES:
                length, kind, flags, stream = _header.unpack_from(data, at)
                if length > PAYLOAD_MAX_BYTES:
                    raise Fault(f'a frame of {length} bytes is over the limit of {PAYLOAD_MAX_BYTES}')
                end = at + HEADER_BYTES + length
                if size < end:
                    break
                yield kind, flags, stream, data[at + HEADER_BYTES:end]
                at = end
            held = data[at:]

    def _move(self):
        with self.lock:
            os.close(self.fd)
            self.fd, self._spare_fd, self.greeted = self._spare_fd, None, False

    def _forget(self):
        """In a forked child: the streams belong to the parent, and so do the locks, whatever state they are in."""
        for fd in (3, 4):
            try:
                os.close(fd)
            except OSError:
                pass
        self.fd = None
        self.lock = threading.RLock()
        self._sending = False
        self._late.clear()
