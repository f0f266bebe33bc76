"""A loop over file descriptors and signals, for processes that never block."""

import os
import select
import signal
import time

NEVER = float('inf')

CAUGHT = (signal.SIGCHLD, signal.SIGTERM)
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)


class Events:
    """Calls back with a file descriptor whenever there is something to read from it."""

    def __init__(self):
        self.poll = select.poll()
        self.callbacks = {}

    def add(self, fd, callback):
        self.callbacks[fd] = callback
        self.poll.register(fd, select.POLLIN)

    def remove(self, fd):
        del self.callbacks[fd]
        self.poll.unregister(fd)

    def wait(self, deadline):
        timeout_ms = None if deadline == NEVER else max(0, deadline - time.monotonic()) * 1000
        ready = [(fd, self.callbacks.get(fd)) for fd, _ in self.poll.poll(timeout_ms)]
        for fd, callback in ready:
            # Not if an earlier callback has removed it. Its number may belong to another file by now.
            if callback and self.callbacks.get(fd) == callback:
                callback(fd)


def catch_signals():
    """Returns a pipe that brings the numbers of the signals caught, so that the loop hears them in
    its turn and not in the middle of something."""
    numbers, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in CAUGHT:
        signal.signal(number, lambda *_: None)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    return numbers


def forget_signals():
    for number in (*CAUGHT, *IGNORED):
        signal.signal(number, signal.SIG_DFL)  # exec would pass on what is ignored
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def now_ms():
    return int(time.time() * 1000)
