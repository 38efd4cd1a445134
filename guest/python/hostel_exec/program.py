"""Makes the running spare a version's: environment, directory, and the program, looked at before the first request needs it."""
import os

from hostel_shim.loading import InitError, enter

_ELF = b'\x7fELF'
# e_machine of the ELF header.
_MACHINES = {'x86_64': 62, 'aarch64': 183}
HEAD_BYTES = 4_096


def prepare(root, spec):
    """The program's path. @raise InitError"""
    enter(root, spec)
    file, colon, export = spec['handler'].partition(':')
    if colon:
        raise InitError(f'`{spec["handler"]}` names something in a file; a program is named by its file alone')
    file = os.path.normpath(file)
    path = os.path.join(root, file)
    if not os.path.isfile(path):
        raise InitError(f'there is no file {file} in the code')
    if not os.access(path, os.X_OK):
        raise InitError(f'{file} is not executable: `chmod +x {file}`, and deploy again')
    with open(path, 'rb') as program:
        _check(file, program.read(HEAD_BYTES))
    return path


def _check(file, head):
    if head.startswith(b'#!'):
        line = head.split(b'\n', 1)[0][2:]
        words = line.split()
        interpreter = os.fsdecode(words[0]) if words else ''
        if line.endswith(b'\r'):
            raise InitError(f'the first line of {file} ends as in Windows; save it with Unix line breaks')
        if not os.access(interpreter, os.X_OK):
            raise InitError(f'the first line of {file} asks for {interpreter or "nothing"}, which is not there')
    elif not head.startswith(_ELF):
        raise InitError(f'{file} is neither a Linux program nor a script that begins with #!, such as #!/bin/sh')
    else:
        machine = os.uname().machine
        if int.from_bytes(head[18:20], 'little') != _MACHINES.get(machine):
            raise InitError(f'{file} is a program for another processor than {machine}')
        _check_loader(file, head)


def _check_loader(file, head):
    """A program that wants another C library fails with "no such file", which tells nobody what is missing."""
    offset, size, count = (int.from_bytes(head[start:end], 'little') for start, end in ((32, 40), (54, 56), (56, 58)))
    for start in range(offset, offset + size * count, size):
        if head[start:start + 4] != b'\x03\0\0\0':  # PT_INTERP
            continue
        begin, length = (int.from_bytes(head[start + at:start + at + 8], 'little') for at in (8, 32))
        loader = os.fsdecode(head[begin:begin + length].rstrip(b'\0'))
        if loader and not os.path.exists(loader):
            raise InitError(f'{file} is linked with {loader}, which is not there; link it statically')
