"""Reliability checks: at length by `python tests/tools/reliability`, in short in the suite; each file is one theme."""
