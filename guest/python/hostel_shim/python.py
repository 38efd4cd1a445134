"""Python functions: how a version's handler is served."""
import sys

from .loading import is_async, kind_of, load
from .workers import Workers

version = '.'.join(map(str, sys.version_info[:3]))


def make_runner(host, root, spec):
    """Each kind is imported only where it is needed."""
    export, handler = load(root, spec)
    kind = kind_of(export, handler)
    if kind == 'asgi':
        from .asgi import Asgi
        return Asgi(host, handler, spec)
    if kind == 'wsgi':
        from .wsgi import Wsgi
        return Wsgi(host, handler, spec)
    if is_async(handler):
        from .tasks import Tasks
        return Tasks(host, handler, spec)
    return Workers(host, handler, spec)
