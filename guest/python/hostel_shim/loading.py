"""Makes the running spare a version's: environment, directory, module path, and the handler out of the user's file."""
import os
import sys
import time

# A function's code flag of an `async def` (inspect.CO_COROUTINE; inspect itself costs 2 MiB).
_COROUTINE = 0x80
_VARARGS = 0x04

APPS = ('app', 'application')
# Looked for when the handler names a file alone, best first.
EXPORTS = ('handler', 'lambda_handler', *APPS)


class InitError(Exception):
    """The version's configuration does not fit its code."""


def enter(root, spec):
    """The version's environment and directory."""
    os.environ.update(spec['env'], HOSTEL_TENANT=spec['tenant'], HOSTEL_FUNCTION=spec['function'],
                      HOSTEL_VERSION=str(spec['version']), HOSTEL_MEMORY_MIB=str(spec['memoryMiB']))
    if 'TZ' in spec['env']:
        time.tzset()
    os.chdir(root)


def load(root, spec):
    """(its name, the handler). Whatever the user's module raises comes through, SystemExit too."""
    enter(root, spec)
    sys.path.insert(0, root)
    # What a build installed; behind the standard library, as everywhere.
    if os.path.isdir(f'{root}/.site-packages'):
        sys.path.append(f'{root}/.site-packages')
    file, export = _locate(root, spec['handler'])
    sys.argv[:] = [file]
    name = file.removesuffix('.py').replace('/', '.')
    __import__(name)
    module = sys.modules[name]
    if getattr(module, '__file__', None) != os.path.join(root, file):
        raise InitError(f'{file} has the name of a module that Python itself needs; give it another name')
    if not export:
        export = next((name for name in EXPORTS if hasattr(module, name)), None)
        if export is None:
            raise InitError(f'{file} defines no function `handler`, and no {", ".join(f"`{name}`" for name in EXPORTS[1:])} either')
    handler = getattr(module, export, None)
    if not callable(handler):
        raise InitError(f'{file} defines no function `{export}`' if handler is None else f'`{export}` in {file} is no function')
    return export, handler


def kind_of(export, handler):
    """'event', 'asgi' or 'wsgi'.

    ASGI: what must be given three arguments. WSGI: no `async def`, and its second parameter is called `start_response` or it is
    itself called `app` or `application`. Where the parameters cannot be seen, `async def app` is ASGI. All else handles events.
    """
    names, named_app, asynchronous = _parameters(handler), export in APPS, is_async(handler)
    if len(names) == 3 or (asynchronous and named_app and not names):
        return 'asgi'
    if not asynchronous and (named_app or names[1:2] == ('start_response',)):
        return 'wsgi'
    return 'event'


def is_async(handler):
    """Whether it is an `async def`: a function, a bound method, a functools.partial of one, or an object with such a `__call__`."""
    while hasattr(handler, 'func'):
        handler = handler.func
    handler = getattr(handler, '__func__', handler)
    if not hasattr(handler, '__code__'):
        handler = getattr(type(handler), '__call__', None)
    code = getattr(handler, '__code__', None)
    return code is not None and bool(code.co_flags & _COROUTINE)


def _parameters(handler):
    """Names of the positional parameters that a caller has to give; inspect.signature would do, and inspect costs 2 MiB."""
    given = 0
    while hasattr(handler, 'func') and hasattr(handler, 'keywords'):  # functools.partial
        given += len(handler.args)
        handler = handler.func
    if isinstance(handler, type):
        given, handler = given + 1, handler.__init__
    elif hasattr(handler, '__func__'):
        given, handler = given + 1, handler.__func__
    elif not hasattr(handler, '__code__'):
        given, handler = given + 1, getattr(type(handler), '__call__', None)
    code = getattr(handler, '__code__', None)
    while code is not None and code.co_flags & _VARARGS and hasattr(handler, '__wrapped__'):
        handler = handler.__wrapped__
        code = getattr(handler, '__code__', None)
    if code is None:
        return ()
    return code.co_varnames[given:code.co_argcount - len(handler.__defaults__ or ())]


def _locate(root, handler):
    """`main.py:handler`, `main.py` alone, or AWS's `main.handler`: (file, name or '')."""
    file, colon, export = handler.partition(':')
    if not colon and not handler.endswith('.py'):
        module, _, export = handler.rpartition('.')
        file = module.replace('.', '/') + '.py'
        if not module:
            raise InitError(f'`{handler}` names no handler; use FILE:FUNCTION, such as main.py:handler')
    file = os.path.normpath(file)
    if not os.path.isfile(os.path.join(root, file)):
        raise InitError(f'there is no file {file} in the code')
    if not file.endswith('.py'):
        raise InitError(f'{file} is no Python file')
    return file, export
