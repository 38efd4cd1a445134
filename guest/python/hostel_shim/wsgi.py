"""WSGI apps (PEP 3333), each request in a thread."""
import io
import sys
import threading

from .context import Context
from .logs import current
from .request import InvalidResponse
from .web import NO_BODY, Target, checked, refusal
from .workers import Workers


class Wsgi(Workers):
    contract = 'fetch'

    def _serve(self, request):
        current.set(request)
        try:
            refused = refusal(request, 'a WSGI app')
            if refused:
                return self._host.refuse(request, *refused)
            context = Context(request, self._spec)
            request.on_cancel = context.cancelled.set
            if request.cancelled:
                context.cancelled.set()
            self._answer(request, context)
        except InvalidResponse as error:
            self._host.fail(request, error, 'invalid_response')
        except BaseException as error:
            self._host.fail(request, error)
        finally:
            current.set(None)

    def _answer(self, request, context):
        answer = _Answer(request)
        result = self._handler(self._environ(request, context), answer.start)
        try:
            if type(result) in (list, tuple) and not answer.begun:
                answer.whole(b''.join(map(_checked_piece, result)))
            else:
                for chunk in result:
                    if request.cancelled:
                        break
                    answer.write(chunk)
                answer.end()
        finally:
            if hasattr(result, 'close'):
                result.close()
        request.finish()

    def _environ(self, request, context):
        target = Target(request)
        environ = {
            'REQUEST_METHOD': request.method,
            'SCRIPT_NAME': target.prefix,
            'PATH_INFO': target.path.decode('latin-1'),
            'QUERY_STRING': target.query,
            'SERVER_NAME': target.host,
            'SERVER_PORT': str(target.port),
            'SERVER_PROTOCOL': 'HTTP/1.1',
            'SERVER_SOFTWARE': 'hostel',
            'REMOTE_ADDR': target.client,
            'wsgi.version': (1, 0),
            'wsgi.url_scheme': target.scheme,
            'wsgi.input': io.BufferedReader(_Input(request)),
            # The input ends where the body does, also without a Content-Length.
            'wsgi.input_terminated': True,
            'wsgi.errors': sys.stderr,
            'wsgi.multithread': self._threads_max > 1,
            'wsgi.multiprocess': True,
            'wsgi.run_once': False,
            'hostel.context': context,
        }
        for name, value in zip(request.headers[::2], request.headers[1::2]):
            if '_' in name:
                continue  # `x_y` must not pass for `x-y`
            key = name.upper().replace('-', '_')
            if key not in ('CONTENT_TYPE', 'CONTENT_LENGTH'):
                key = 'HTTP_' + key
            environ[key] = f'{environ[key]}{"; " if name == "cookie" else ","}{value}' if key in environ else value
        return environ


class _Answer:
    def __init__(self, request):
        self._request = request
        self._status = None
        self._headers = None
        self.begun = False

    def start(self, status, headers, exc_info=None):
        """start_response: @return the `write` of old apps."""
        if exc_info and self.begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if not exc_info and self._status is not None:
            raise InvalidResponse('the app called start_response twice')
        code = status[:3]
        self._status = int(code) if code.isdigit() else status
        self._headers = checked(self._status, headers)
        return self.write

    def whole(self, body):
        self._check_started()
        self.begun = True
        headers = self._headers
        if 'content-length' not in headers[::2] and self._status not in NO_BODY:
            headers = [*headers, 'content-length', str(len(body))]
        self._request.answer(self._status, headers, b'' if self._is_without_body() else body)

    def write(self, data):
        data = _checked_piece(data)
        if not data:
            return
        self._check_started()
        self._begin()
        if self._is_without_body():
            return
        drained = threading.Semaphore(0)
        if not self._request.write(data, drained.release):
            drained.acquire()

    def end(self):
        if self._request.cancelled:
            return
        self._check_started()
        self._begin()
        self._request.end()

    def _begin(self):
        if not self.begun:
            self.begun = True
            self._request.begin(self._status, self._headers)

    def _check_started(self):
        if self._status is None:
            raise InvalidResponse('the app did not call start_response')

    def _is_without_body(self):
        return self._request.method == 'HEAD' or self._status in NO_BODY


class _Input(io.RawIOBase):
    """wsgi.input: waits for the body as it comes."""

    def __init__(self, request):
        self._request = request
        self._held = memoryview(b'')
        self._more = True

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self._held and self._more:
            came = threading.Semaphore(0)
            read = self._request.read(came.release)
            if read is None:
                came.acquire()
            elif self._request.cancelled:
                raise OSError('the rest of the body will not come: the request was cancelled')
            else:
                data, self._more = read
                self._held = memoryview(data)
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def _checked_piece(data):
    if not isinstance(data, bytes):
        raise InvalidResponse(f'the app yielded a {type(data).__name__}; a body is made of bytes')
    return data
