"""Starts the processes of a service: its shims, and the tools that it waits for.

    python3 -I -S fork_server.py

Node stands still while it starts a process, for some milliseconds at best and for tens of them when
the machine is busy; and a shim that is forked from here needs no interpreter of its own. Orders come
as JSON lines on stdin, each with an id that everything said about it on stdout has too:

    {"id": 1, "shim": DIR, "env": {...}}
    {"id": 2, "tool": ["ffmpeg", ...], "env": {...}}
    {"id": 2, "kill": true}

    {"id": 1, "pid": PID}                               it was started
    {"id": 1, "error": CODE, "message": "..."}          it could not be
    {"id": 2, "code": 0, "signal": null, "stdout": "...", "stderr": "..."}   it has ended

When stdin ends, the service is gone: so are we, and what we have started stays.
"""

import ctypes
import errno
import gc
import json
import os
import signal
import sys

sys.dont_write_bytecode = True  # where we are installed is no place to write to
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import shim
from child_processes import fork, signal_name, stat_fields
from event_loop import CAUGHT, IGNORED, NEVER, Events, catch_signals, forget_signals

MOST_KEPT = 1024 * 1024  # of what a tool says: the first of its output, the last of its errors

NICER = 10  # than we are: what answers people and what feeds a GPU come before what converts

# Of /proc/PID/stat, counted from the third: where the arguments lie in memory.
ARG_START, ARG_END = 45, 46


def main():
    gc.freeze()  # or the first collection in a shim would copy what all of them share
    ForkServer().run()


class ForkServer:
    def __init__(self):
        self.events = Events()
        self.signals = catch_signals()
        self.unread = b''
        self.running = {}  # by pid

    def run(self):
        self.events.add(self.signals, self.hear_signals)
        self.events.add(0, self.receive)
        tell({'ready': True})
        while True:
            self.events.wait(NEVER)

    def receive(self, fd):
        received = os.read(fd, 64 * 1024)
        if not received:
            sys.exit()
        *lines, self.unread = (self.unread + received).split(b'\n')
        for line in lines:
            self.obey(json.loads(line))

    def obey(self, order):
        if 'kill' in order:
            self.kill(order['id'])
            return
        try:
            begun = self.start(order)
        except OSError as error:
            code = errno.errorcode.get(error.errno)
            tell({'id': order['id'], 'error': code, 'message': error.strerror})
            return
        self.running[begun.pid] = begun
        tell({'id': order['id'], 'pid': begun.pid})

    def start(self, order):
        if 'shim' in order:
            return Shim(order['id'], self.fork_shim(order['shim'], order['env']))
        return Tool(order['id'], self.events, order['tool'], order['env'], self.settle)

    def kill(self, number):
        for begun in self.running.values():
            if begun.id == number and not begun.end:
                os.kill(begun.pid, signal.SIGKILL)

    def hear_signals(self, fd):
        if signal.SIGTERM in os.read(fd, 4096):
            sys.exit()
        for begun in list(self.running.values()):
            if begun.end:
                continue
            pid, status = os.waitpid(begun.pid, os.WNOHANG)
            if pid:
                begun.end = end_of(status)
                self.settle(begun)

    def settle(self, begun):
        """Tells its end, once there is nothing more to hear of it."""
        if begun.end and begun.is_silent():
            del self.running[begun.pid]
            tell({'id': begun.id, **begun.end, **begun.said()})

    def fork_shim(self, directory, env):
        log = os.open(f'{directory}/shim.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            return fork(lambda: self.become_shim(directory, env, log))
        finally:
            os.close(log)

    def become_shim(self, directory, env, log):
        """Runs in the child, its signals blocked, and leaves nothing of what it has from us."""
        os.close(signal.set_wakeup_fd(-1))
        os.close(self.signals)
        for begun in self.running.values():
            begun.forget()
        os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        forget_signals()
        os.environ.clear()
        os.environ.update(env)
        show_as(sys.executable, '-I', '-S', shim.__file__, directory)
        shim.main(directory)


class Shim:
    def __init__(self, number, pid):
        self.id = number
        self.pid = pid
        self.end = None

    def is_silent(self):
        return True

    def said(self):
        return {}

    def forget(self):
        pass


class Tool:
    """A child whose output we collect. It ends with the last of its pipes, whoever holds them."""

    def __init__(self, number, events, argv, env, settle):
        self.id = number
        self.end = None
        self.events = events
        self.settle = settle
        self.output = {'stdout': b'', 'stderr': b''}
        self.pipes = {}
        stdout, stdout_end = os.pipe()
        stderr, stderr_end = os.pipe()
        try:
            self.pid = os.posix_spawnp(
                argv[0],
                argv,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, '/dev/null', os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, stdout_end, 1),
                    (os.POSIX_SPAWN_DUP2, stderr_end, 2),
                ],
                setsigmask=(),
                setsigdef=(*CAUGHT, *IGNORED),
            )
            self.pipes = {stdout: 'stdout', stderr: 'stderr'}
        finally:
            os.close(stdout_end)
            os.close(stderr_end)
            if not self.pipes:
                os.close(stdout)
                os.close(stderr)
        for fd in self.pipes:
            events.add(fd, self.hear)
        self.give_way()

    def give_way(self):
        try:
            ours = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, self.pid, ours + NICER)
        except PermissionError:
            pass  # some sandboxes forbid it, and it is not worth a conversion

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


def end_of(status):
    if os.WIFSIGNALED(status):
        return {'code': None, 'signal': signal_name(os.WTERMSIG(status))}
    return {'code': os.WEXITSTATUS(status), 'signal': None}


def tell(message):
    left = json.dumps(message).encode() + b'\n'
    while left:
        left = left[os.write(1, left) :]


def show_as(*arguments):
    """Writes over our own arguments, so that whoever looks at the processes sees a shim and which.
    The blanks that we were started with make room for that; what is too long is cut off."""
    fields = stat_fields(os.getpid())
    start, end = int(fields[ARG_START]), int(fields[ARG_END])
    shown = b''.join(argument.encode() + b'\0' for argument in arguments)
    room = end - start
    ctypes.memmove(start, shown[: room - 1].ljust(room, b'\0'), room)


if __name__ == '__main__':
    main()
