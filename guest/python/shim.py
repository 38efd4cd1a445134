"""The Python shim: what runs inside a sandbox, loads the function and speaks the sandbox protocol.

    shim.py [CODE_ROOT]         CODE_ROOT is /code unless a test says otherwise

Start reading at hostel_shim/serve.py. No dependencies; Python 3.11 or later.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    sys.dont_write_bytecode = True
    if HERE not in sys.path:  # `python3 -I` leaves it out
        sys.path.insert(0, HERE)
    from hostel_shim import python, serve
    # What lies beside the shim is no business of the function's.
    sys.path.remove(HERE)
    serve.run(os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else '/code', 'python3', python.version, python.make_runner)


# The guard is for multiprocessing's "spawn", which imports the main module again.
if __name__ == '__main__':
    main()
