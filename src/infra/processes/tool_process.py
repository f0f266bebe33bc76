"""A tool that the fork server runs: how it is started, and what it says."""

import os
import resource

from event_loop import CAUGHT, IGNORED

MOST_KEPT = 1024 * 1024  # of what a tool says: the first of its output, the last of its errors

NICER = 10  # than we are: what answers people and what feeds a GPU come before what converts


class Tool:
    """A child whose output we collect. It ends with the last of its pipes, whoever holds them."""

    def __init__(self, number, events, settle, start):
        """`start` returns the pid of a process that has been given the two writers."""
        self.id = number
        self.end = None
        self.events = events
        self.settle = settle
        self.output = {'stdout': b'', 'stderr': b''}
        self.pipes = {}
        stdout, stdout_end = os.pipe()
        try:
            stderr, stderr_end = os.pipe()
        except OSError:
            os.close(stdout)  # each failed start would otherwise leave two descriptors less
            os.close(stdout_end)
            raise
        try:
            self.pid = start(stdout_end, stderr_end)
            self.pipes = {stdout: 'stdout', stderr: 'stderr'}
        finally:
            os.close(stdout_end)
            os.close(stderr_end)
            if not self.pipes:
                os.close(stdout)
                os.close(stderr)
        for fd in self.pipes:
            events.add(fd, self.hear)

    def has_ended(self, end):
        self.end = end

    def is_sweeping(self):
        return False

    def hear(self, fd):
        heard = os.read(fd, 64 * 1024)
        name = self.pipes[fd]
        if name == 'stderr':
            self.output[name] = (self.output[name] + heard)[-MOST_KEPT:]
        elif len(self.output[name]) < MOST_KEPT:
            self.output[name] += heard
        if not heard:
            del self.pipes[fd]
            self.events.remove(fd)
            os.close(fd)
            self.settle(self)

    def is_silent(self):
        return not self.pipes

    def said(self):
        return {name: text.decode(errors='replace') for name, text in self.output.items()}

    def forget(self):
        for fd in self.pipes:
            os.close(fd)


def give_way(pid):
    try:
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, pid, ours + NICER)
    except PermissionError:
        pass  # some sandboxes forbid it, and it is not worth a conversion


def limit_memory(pid, size):
    """Of what it may write to, which the size of its libraries and stacks does not count much in."""
    try:
        resource.prlimit(pid, resource.RLIMIT_DATA, (size, size))
    except (PermissionError, ProcessLookupError):
        pass  # a sandbox forbids it, or it has ended


def spawn(argv, env, *inherited):
    """`inherited`: pairs of a descriptor of ours and its number there."""
    return os.posix_spawnp(
        argv[0],
        argv,
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, '/dev/null', os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in inherited),
        ],
        setsigmask=(),
        setsigdef=(*CAUGHT, *IGNORED),
    )
