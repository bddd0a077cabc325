"""How OpenMP's threads wait for each other. Torch reads it when it is imported, so this module imports no torch."""

import os

# Turns of a loop that a thread waits before it sleeps. The runtime itself takes 300,000. On a processor that others use
# too, a thread that waits takes the time of the very thread that it waits for: see the benchmark's theme `waiting`.
SPINS = 3_000
OWN_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def wait_briefly() -> None:
    """Let the threads of this process sleep soon when they wait. Call this before torch is imported.

    The user's own choice, `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT` in the environment, stays.
    """
    if not os.environ.keys() & set(OWN_CHOICES):
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
