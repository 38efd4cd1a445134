"""HTTP as an event handler sees it: AWS Lambda's payload format 2.0, so that code written for it runs as it is."""
import re
import time
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from .request import InvalidResponse, encode_json

JSON_HEADERS = ['content-type', 'application/json']

is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
# What HTTP/1.1 can carry: Latin-1 without control characters.
is_value = re.compile(r'[\t\x20-\x7e\x80-\xff]*').fullmatch
_NO_BODY = (204, 205, 304)


def http_event(request, spec, body):
    """The event of an HTTP request. As in AWS, `cookies`, `queryStringParameters` and `body` are there only when the request has them."""
    domain, _, target = request.url.partition('://')[2].partition('/')
    path, _, query = ('/' + target).partition('?')
    headers, cookies = _headers(request.headers)
    now = time.time()
    event = {
        'version': '2.0',
        'routeKey': '$default',
        'rawPath': path,
        'rawQueryString': query,
        'headers': headers,
        'requestContext': {
            'accountId': spec['tenant'],
            'apiId': spec['function'],
            'domainName': domain,
            'domainPrefix': domain.partition('.')[0],
            'http': {
                'method': request.method,
                'path': path,
                'protocol': 'HTTP/1.1',
                'sourceIp': headers.get('x-forwarded-for', '').partition(',')[0].strip(),
                'userAgent': headers.get('user-agent', ''),
            },
            'requestId': request.meta['id'],
            'routeKey': '$default',
            'stage': '$default',
            'time': time.strftime('%d/%b/%Y:%H:%M:%S +0000', time.gmtime(now)),
            'timeEpoch': int(now * 1000),
        },
        'isBase64Encoded': False,
    }
    if cookies:
        event['cookies'] = cookies
    if query:
        event['queryStringParameters'] = _query(query)
    if body:
        event['body'], event['isBase64Encoded'] = _body_text(body, headers.get('content-type', ''))
    return event


def http_answer(result, method):
    """(status, flat headers, body) of what a handler returned. The body is bytes, or whatever else it may yield pieces from.

    @raise InvalidResponse: saying what is wrong with it.
    """
    if not isinstance(result, dict) or 'statusCode' not in result:
        return 200, JSON_HEADERS, json_body(result)
    status = result['statusCode']
    if type(status) is not int or not 200 <= status <= 599:
        raise InvalidResponse(f'statusCode is {status!r:.100}; it must be a whole number from 200 to 599')
    headers = _answer_headers(result, method)
    body, kind = _answer_body(result)
    if status in _NO_BODY:
        return status, headers, b''
    if kind and 'content-type' not in headers[::2]:
        headers += ('content-type', kind)
    if isinstance(body, bytes) and 'content-length' not in headers[::2]:
        headers += ('content-length', str(len(body)))
    return status, headers, b'' if method == 'HEAD' else body


def json_body(result):
    """@raise InvalidResponse: when JSON cannot express it."""
    try:
        text = encode_json(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResponse(f'the handler returned a {type(result).__name__} that cannot be written as JSON: {error}') from None
    return text.encode('utf-8', 'backslashreplace')


def piece(chunk):
    """A piece of a streamed body as bytes."""
    if isinstance(chunk, str):
        return chunk.encode('utf-8', 'replace')
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise InvalidResponse(f'the body yielded a {type(chunk).__name__}; it may yield bytes or str')


def _headers(flat):
    headers, cookies = {}, []
    for name, value in zip(flat[::2], flat[1::2]):
        if name == 'cookie':
            cookies += (part.strip() for part in value.split(';') if part.strip())
        elif name in headers:
            headers[name] += ',' + value
        else:
            headers[name] = value
    return headers, cookies


def _query(query):
    values = {}
    for part in query.split('&'):
        if part:
            name, _, value = part.partition('=')
            name, value = _decoded(name), _decoded(value)
            values[name] = f'{values[name]},{value}' if name in values else value
    return values


def _decoded(text):
    """Percent-decodes; urllib.parse would do, and costs 3 ms of the first request to import."""
    text = text.replace('+', ' ')
    if '%' not in text:
        return text
    first, *rest = text.encode('utf-8', 'replace').split(b'%')
    for part in rest:
        try:
            first += bytes((int(part[:2], 16),)) + part[2:] if len(part) > 1 and part[:2].isalnum() else b'%' + part
        except ValueError:
            first += b'%' + part
    return first.decode('utf-8', 'replace')


def _body_text(body, content_type):
    """Text where the type says so or says nothing and it is UTF-8, else base64."""
    kind = content_type.partition(';')[0].strip().lower()
    if not kind or kind.startswith('text/') or kind.endswith(('json', 'xml', 'javascript', 'x-www-form-urlencoded', 'yaml', 'graphql')):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return b2a_base64(body, newline=False).decode(), True


def _answer_headers(result, method):
    given, cookies = result.get('headers') or {}, result.get('cookies') or []
    if not isinstance(given, dict):
        raise InvalidResponse(f'headers is a {type(given).__name__}; it must be a dict')
    if not isinstance(cookies, (list, tuple)):
        raise InvalidResponse(f'cookies is a {type(cookies).__name__}; it must be a list of strings')
    flat = []
    for name, value in (*given.items(), *(('set-cookie', cookie) for cookie in cookies)):
        lower = name.lower() if isinstance(name, str) else ''
        if not is_token(lower):
            raise InvalidResponse(f'{name!r:.100} is no name for a header')
        if lower == 'content-length' and method != 'HEAD':
            continue  # the length of the body itself is what counts
        if type(value) in (int, float):
            value = str(value)
        if not isinstance(value, str) or not is_value(value):
            raise InvalidResponse(f'the header {lower} has a value that HTTP cannot carry: {value!r:.100}')
        flat += (lower, value)
    return flat


def _answer_body(result):
    """(body, content type when the handler names none)."""
    body = result.get('body')
    if body is None:
        return b'', None
    if isinstance(body, str):
        if not result.get('isBase64Encoded'):
            return body.encode('utf-8', 'replace'), 'text/plain; charset=utf-8'
        try:
            return a2b_base64(body.encode('ascii', 'replace'), strict_mode=True), 'application/octet-stream'
        except Base64Error as error:
            raise InvalidResponse(f'isBase64Encoded is true, but body is not base64: {error}') from None
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), 'application/octet-stream'
    if not isinstance(body, (dict, list, tuple)) and (hasattr(body, '__iter__') or hasattr(body, '__aiter__')):
        return body, 'application/octet-stream'
    raise InvalidResponse(f'body is a {type(body).__name__}; it must be a string (json.dumps makes one), bytes, or an iterator of these')
