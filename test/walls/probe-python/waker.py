"""Computes all the time, and has the kernel send SIGCONT to itself, with a handler, so that being stopped does not last."""
import ctypes
import threading
import time

SIGCONT = 18
CLOCK_MONOTONIC = 1
PERIOD_NS = 700_000_000

libc = ctypes.CDLL(None)


class SigEvent(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 48)]


class TimerSpec(ctypes.Structure):
    _fields_ = [("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long), ("first_s", ctypes.c_long), ("first_ns", ctypes.c_long)]


Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
ignore = Handler(lambda _: None)
libc.signal.argtypes = [ctypes.c_int, Handler]
libc.signal.restype = ctypes.c_void_p
libc.signal(SIGCONT, ignore)
timer = ctypes.c_void_p()
armed = libc.timer_create(CLOCK_MONOTONIC, ctypes.byref(SigEvent(None, SIGCONT, 0)), ctypes.byref(timer))
armed |= libc.timer_settime(timer, 0, ctypes.byref(TimerSpec(0, PERIOD_NS, 0, PERIOD_NS)), None)


def compute():
    while True:
        pass


threading.Thread(target=compute, daemon=True).start()


def handler(event, context):
    return {"armed": armed, "cpuSeconds": time.process_time()}
