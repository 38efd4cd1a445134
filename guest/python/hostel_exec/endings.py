"""What the end of a program means, in words."""
from signal import Signals


def explain(code):
    """None for success. Negative codes are signals, as in os.waitstatus_to_exitcode."""
    if code == 0:
        return None
    if code < 0:
        return f'the program was ended by {_signal(-code)}'
    why = ''
    if code == 126:
        why = ', which shells say when a command may not be executed'
    elif code == 127:
        why = ', which shells say when a command is not found'
    elif 128 < code <= 192:
        why = f', which shells say when a command was ended by {_signal(code - 128)}'
    return f'the program exited with code {code}{why}; its last lines in the log may tell more'


def _signal(number):
    try:
        return Signals(number).name
    except ValueError:
        return f'signal {number}'
