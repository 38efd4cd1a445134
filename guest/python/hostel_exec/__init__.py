"""The parts of the shim of programs; exec.py starts it."""
