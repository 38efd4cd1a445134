"""Makes the running spare a version's: environment, directory, module path, and the handler out of the user's file."""
import os
import sys
import time

# A function's code flag of an `async def` (inspect.CO_COROUTINE; inspect itself costs 2 MiB).
_COROUTINE = 0x80


class InitError(Exception):
    """The version's configuration does not fit its code."""


def load(root, spec):
    """The handler. Whatever the user's module raises comes through, SystemExit too."""
    os.environ.update(spec['env'], HOSTEL_TENANT=spec['tenant'], HOSTEL_FUNCTION=spec['function'],
                      HOSTEL_VERSION=str(spec['version']), HOSTEL_MEMORY_MIB=str(spec['memoryMiB']))
    if 'TZ' in spec['env']:
        time.tzset()
    os.chdir(root)
    sys.path.insert(0, root)
    file, export = _locate(root, spec['handler'])
    sys.argv[:] = [file]
    name = file.removesuffix('.py').replace('/', '.')
    __import__(name)
    module = sys.modules[name]
    if getattr(module, '__file__', None) != os.path.join(root, file):
        raise InitError(f'{file} has the name of a module that Python itself needs; give it another name')
    handler = getattr(module, export, None)
    if not callable(handler):
        raise InitError(f'{file} defines no function `{export}`' if handler is None else f'`{export}` in {file} is no function')
    return handler


def is_async(handler):
    """Whether it is an `async def`: a function, a bound method, a functools.partial of one, or an object with such a `__call__`."""
    while hasattr(handler, 'func'):
        handler = handler.func
    handler = getattr(handler, '__func__', handler)
    if not hasattr(handler, '__code__'):
        handler = getattr(type(handler), '__call__', None)
    code = getattr(handler, '__code__', None)
    return code is not None and bool(code.co_flags & _COROUTINE)


def _locate(root, handler):
    """`main.py:handler`, `main.py` (which means its `handler`), or AWS's `main.handler`."""
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
    return file, export or 'handler'
