"""A function's errors as the protocol's JSON error. Imported at the first error, since traceback costs 9 ms."""
import os
import traceback

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
STACK_MAX_CHARS = 16_384
MESSAGE_MAX_CHARS = 4_096


def describe(error, root, kind='handler', message=None):
    """`file` and `line` are the innermost place in the function's own code, relative to its root."""
    inside = root + os.sep
    entries = [entry for entry in _frames(error) if not entry.tb_frame.f_code.co_filename.startswith(_OURS)]
    described = {
        'kind': kind,
        'name': type(error).__name__,
        'message': (message or _text(error))[:MESSAGE_MAX_CHARS],
        'stack': _stack(error, entries[0] if entries else None, inside),
    }
    if isinstance(error, SyntaxError) and error.filename:
        described.update(file=error.filename.removeprefix(inside), line=error.lineno or 1, column=error.offset or 1, message=error.msg)
        return described
    own = [entry for entry in entries if entry.tb_frame.f_code.co_filename.startswith(inside)]
    if own:
        described.update(file=own[-1].tb_frame.f_code.co_filename.removeprefix(inside), line=own[-1].tb_lineno)
    return described


def _frames(error):
    entry = error.__traceback__
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _text(error):
    try:
        return str(error)
    except Exception:
        return '(its message cannot be shown: __str__ raised an error)'


def _stack(error, first, inside):
    try:
        text = ''.join(traceback.TracebackException(type(error), error, first, compact=True).format())
    except Exception:
        return f'{type(error).__name__} (its traceback cannot be shown)'
    text = text.replace(inside, '').rstrip('\n')
    if len(text) > STACK_MAX_CHARS:
        half = STACK_MAX_CHARS // 2
        text = f'{text[:half]}\n… [cut]\n{text[-half:]}'
    return text
