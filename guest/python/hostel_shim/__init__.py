"""The parts of the Python shim; shim.py starts it."""
