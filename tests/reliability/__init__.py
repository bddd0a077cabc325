"""What `tests/reliability.py` runs at length, and the suite in short; each file is one theme."""
