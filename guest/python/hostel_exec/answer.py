"""A program's standard output as an answer: a body, or first CGI's headers, told by its first line."""
from hostel_shim.request import InvalidResponse
from hostel_shim.web import NO_BODY, checked

HEAD_MAX_BYTES = 65_536
# RFC 3875 asks for one of these; an output whose first line is none of them is all body.
_FIRST = (b'content-type:', b'status:', b'location:')


class Output:
    """Takes the output piece by piece; `headers` is there once they are known."""

    def __init__(self, method):
        self._method = method
        self._held = b''
        self.status = 200
        self.headers = None

    def take(self, data, last=False):
        """The body in it. @raise InvalidResponse"""
        if self.headers is None:
            data = self._head(self._held + data, last)
        return b'' if self._method == 'HEAD' or self.status in NO_BODY else data

    def _head(self, data, last):
        start = data[:max(map(len, _FIRST))].lower()
        if not any(start.startswith(first) for first in _FIRST):
            if not last and any(first.startswith(start) for first in _FIRST):
                self._held = data  # too short to tell
                return b''
            self.headers = ['content-type', 'text/plain; charset=utf-8']
            return data
        end, width = _end_of_head(data)
        if end < 0:
            if last or len(data) > HEAD_MAX_BYTES:
                raise InvalidResponse('the output begins with a header, but no empty line ends the headers')
            self._held = data
            return b''
        self._parse(data[:end].decode('latin-1'))
        return data[end + width:]

    def _parse(self, text):
        fields, status = [], None
        for line in text.splitlines():
            name, colon, value = line.partition(':')
            if not colon:
                raise InvalidResponse(f'{line!r:.100} is no header; an empty line ends the headers')
            if name.lower() == 'status':
                code = value.split()[:1]
                status = int(code[0]) if code and code[0].isdigit() else value
            else:
                fields.append((name, value))
        if status is None:
            status = 302 if any(name.lower() == 'location' for name, _ in fields) else 200
        self.headers = checked(status, fields)
        self.status = status


def _end_of_head(data):
    ends = [(at, len(mark)) for mark in (b'\n\n', b'\r\n\r\n', b'\n\r\n') if (at := data.find(mark)) >= 0]
    return min(ends, default=(-1, 0))
