"""What ASGI and WSGI have in common: a request's address, and an answer's headers."""
from urllib.parse import unquote_to_bytes

from .events import is_token, is_value
from .request import InvalidResponse

# Statuses whose answer has no body.
NO_BODY = (204, 205, 304)


class Target:
    """Where a request goes. The gateway lets no caller set the forwarding headers, so they are to be believed."""

    def __init__(self, request):
        fields = dict(zip(request.headers[::2], request.headers[1::2]))
        self.scheme = fields.get('x-forwarded-proto', 'http')
        host, _, target = request.url.partition('://')[2].partition('/')
        raw_path, _, query = ('/' + target).partition('?')
        name, colon, port = host.rpartition(':')
        if colon and port.isdigit():
            self.host, self.port = name, int(port)
        else:
            self.host, self.port = host, 443 if self.scheme == 'https' else 80
        # What the gateway took off the path's front.
        self.prefix = fields.get('x-forwarded-prefix', '')
        self.raw_path = raw_path.encode('latin-1', 'replace')
        self.path = unquote_to_bytes(raw_path)
        self.query = query
        self.client = fields.get('x-forwarded-for', '').partition(',')[0].strip()


def refusal(request, kind):
    """Why this request is none for an app, or None."""
    if request.meta.get('event'):
        return 400, f'this function answers HTTP requests (it is {kind}), not events'
    if request.meta.get('upgrade'):
        return 501, f'this function is {kind}, and gets no WebSockets'
    return None


def checked(status, fields):
    """Flat headers out of pairs of text. @raise InvalidResponse"""
    if type(status) is not int or not 200 <= status <= 599:
        raise InvalidResponse(f'the status is {status!r:.100}; it must be a whole number from 200 to 599')
    flat = []
    for name, value in fields:
        lower = name.lower()
        if not is_token(lower):
            raise InvalidResponse(f'{name!r:.100} is no name for a header')
        value = value.strip(' \t')
        if not is_value(value):
            raise InvalidResponse(f'the header {lower} has a value that HTTP cannot carry: {value!r:.100}')
        flat += (lower, value)
    return flat
