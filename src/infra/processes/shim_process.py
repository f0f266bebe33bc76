"""A shim as the fork server sees it, and how it is forked."""

import os
import sys
import time

import shim
from child_processes import fork, show_as
from event_loop import NEVER, forget_signals

SWEEP_S = 5  # how long the killed may take to go


class Shim:
    def __init__(self, number, pid):
        self.id = number
        self.pid = pid
        self.end = None
        self.sweep_until = NEVER
        self.unreaped = None

    def has_ended(self, end):
        self.end = end
        self.sweep_until = time.monotonic() + SWEEP_S

    def is_sweeping(self):
        return self.end is not None and self.unreaped is None

    def is_silent(self):
        return self.unreaped is not None

    def said(self):
        return {'unreaped': self.unreaped}

    def forget(self):
        pass


def open_log(directory):
    return os.open(f'{directory}/shim.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def fork_shim(directory, env, forget):
    """Returns its pid. `forget` is called in the child, to leave nothing of what it has from us."""
    log = open_log(directory)

    def become():
        forget()
        become_shim(directory, env, log)

    try:
        return fork(become)
    finally:
        os.close(log)


def become_shim(directory, env, log, run=shim.execute):
    """Runs in the child, its signals blocked."""
    os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    forget_signals()
    os.environ.clear()
    os.environ.update(env)
    show_as(sys.executable, '-I', '-S', shim.__file__, directory)
    shim.main(directory, run)
