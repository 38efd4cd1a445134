"""A request as environment variables: CGI/1.1, RFC 3875."""
import os
import time

# Programs take HTTP_PROXY for the address of a proxy, and no caller shall give them that.
_NOT_PASSED = ('HTTP_PROXY',)


class BadTarget(Exception):
    """The path cannot be put into an environment variable."""


def environment(request, target):
    path = os.fsdecode(target.path)
    if '\0' in path:
        raise BadTarget('the path has a NUL character')
    variables = {
        **os.environ,
        'GATEWAY_INTERFACE': 'CGI/1.1',
        'SERVER_SOFTWARE': 'hostel',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'SERVER_NAME': target.host,
        'SERVER_PORT': str(target.port),
        'REQUEST_SCHEME': target.scheme,
        'REQUEST_METHOD': request.method,
        'REQUEST_URI': target.prefix + target.raw_path.decode('latin-1') + ('?' + target.query if target.query else ''),
        'SCRIPT_NAME': target.prefix,
        'PATH_INFO': path,
        'QUERY_STRING': target.query,
        'REMOTE_ADDR': target.client,
        'HOSTEL_INVOCATION_ID': request.meta['id'],
        'HOSTEL_REMAINING_MS': str(max(0, int((request.deadline - time.monotonic()) * 1_000))),
    }
    given = {}
    for name, value in zip(request.headers[::2], request.headers[1::2]):
        if '_' in name:
            continue  # `x_y` must not pass for `x-y`
        key = name.upper().replace('-', '_')
        if key not in ('CONTENT_TYPE', 'CONTENT_LENGTH'):
            key = 'HTTP_' + key
        given[key] = f'{given[key]}{"; " if name == "cookie" else ", "}{value}' if key in given else value
    for key in _NOT_PASSED:
        given.pop(key, None)
    # Headers are Latin-1; the bytes are passed on as they came.
    return {key.encode(): os.fsencode(value) for key, value in variables.items()} | {key.encode(): value.encode('latin-1', 'replace') for key, value in given.items()}
