"""The shim of programs: what runs inside a sandbox and starts an executable file for each request.

    exec.py [CODE_ROOT]         CODE_ROOT is /code unless a test says otherwise

It shares hostel_shim's half of the sandbox protocol with the Python shim; start reading at hostel_exec/commands.py.
"""
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:  # `python3 -I` leaves it out
    sys.path.insert(0, HERE)

from hostel_exec.commands import Commands  # noqa: E402
from hostel_exec.program import prepare  # noqa: E402
from hostel_shim import serve  # noqa: E402


def make_runner(host, root, spec):
    return Commands(host, prepare(root, spec), spec)


# What a program has to fit is the C library, so that is this runtime's version.
version = os.confstr('CS_GNU_LIBC_VERSION').split()[-1]
serve.run(os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else '/code', 'exec', version, make_runner)
