"""A stand-in for the package `spaces` of ZeroGPU. Like it, it forks for every call, and pickles what goes in and out.

A copy of this file has to be called `spaces.py`.
"""

import multiprocessing
import pickle

DURATIONS = []  # that calls asked for, in seconds


def GPU(duration):
    """Decorate a generator function: each call runs in a forked process."""

    def decorate(function):
        def run(*arguments):
            DURATIONS.append(duration(*arguments))
            receiver, sender = multiprocessing.get_context("fork").Pipe()

            def work(data):
                try:
                    for step in function(*pickle.loads(data)):
                        sender.send_bytes(pickle.dumps(step))
                    sender.send_bytes(pickle.dumps(None))
                except BaseException as error:
                    sender.send_bytes(pickle.dumps(error))

            process = multiprocessing.get_context("fork").Process(target=work, args=(pickle.dumps(arguments),))
            process.start()
            try:
                while (step := pickle.loads(receiver.recv_bytes())) is not None:
                    if isinstance(step, BaseException):
                        raise step
                    yield step
            finally:
                process.terminate()
                process.join()

        return run

    return decorate
