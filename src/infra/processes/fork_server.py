"""Starts the processes of a service: its shims, and the tools that it waits for.

    python3 -I -S fork_server.py

Node stands still while it starts a process, for some milliseconds at best and for tens of them when
the machine is busy; and a shim that is forked from here needs no interpreter of its own. Orders come
as JSON lines on stdin, each with an id that everything said about it on stdout has too:

    {"id": 1, "shim": DIR, "env": {...}}
    {"id": 2, "tool": ["ffmpeg", ...], "env": {...}, "maxBytes": 1073741824}
    {"id": 2, "kill": true}
    {"id": 3, "ping": true}

    {"id": 1, "pid": PID, "start": TICKS}               it was started
    {"id": 1, "error": CODE, "message": "..."}          it could not be
    {"id": 1, "code": 0, "signal": null, "unreaped": 0}                      a shim has ended
    {"id": 2, "code": 0, "signal": null, "stdout": "...", "stderr": "..."}   a tool has ended
    {"id": 3, "pong": true}

A process below us that loses its parent becomes our child. The descendants of a shim do so only when
it has died, and are killed: the end of a shim is reported when none of them is left, or SWEEP_S later
with the number of those that survive SIGKILL.

When stdin ends, the service is gone: so are we, and what we have started stays.
"""

import ctypes
import errno
import gc
import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True  # where we are installed is no place to write to
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import shim
from child_processes import (
    PR_SET_CHILD_SUBREAPER,
    children,
    fork,
    identity,
    kill,
    prctl,
    signal_name,
    stat_fields,
)
from event_loop import NEVER, Events, catch_signals, forget_signals
from tool_process import Tool

SWEEP_S = 5  # how long the killed may take to go
SWEEP_AGAIN_S = 0.05
MOST_DEAD_AT_ONCE = 256

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
        self.running = {}  # by the id of its order
        # Children that are not to be killed: those of a wrapper around Python that became us by exec,
        # and those that have survived SIGKILL.
        self.spared = set(children())

    def run(self):
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.events.add(self.signals, self.hear_signals)
        self.events.add(0, self.receive)
        tell({'ready': True})
        while True:
            is_sweeping = any(begun.is_sweeping() for begun in self.running.values())
            self.events.wait(time.monotonic() + SWEEP_AGAIN_S if is_sweeping else NEVER)
            if is_sweeping:
                self.sweep()

    def receive(self, fd):
        received = os.read(fd, 64 * 1024)
        if not received:
            self.leave()
        *lines, self.unread = (self.unread + received).split(b'\n')
        for line in lines:
            self.obey(json.loads(line))

    def obey(self, order):
        if 'kill' in order:
            self.kill(order['id'])
        elif 'ping' in order:
            tell({'id': order['id'], 'pong': True})
        else:
            self.begin(order)

    def begin(self, order):
        try:
            begun = self.start(order)
        except OSError as error:
            code = errno.errorcode.get(error.errno)
            tell({'id': order['id'], 'error': code, 'message': error.strerror})
            return
        except MemoryError:
            tell({'id': order['id'], 'error': 'ENOMEM', 'message': os.strerror(errno.ENOMEM)})
            return
        self.running[begun.id] = begun
        tell({'id': order['id'], **identity(begun.pid)})

    def start(self, order):
        if 'shim' in order:
            return Shim(order['id'], self.fork_shim(order['shim'], order['env']))
        tool = Tool(order['id'], self.events, order['tool'], order['env'], self.settle)
        if 'maxBytes' in order:
            tool.limit_memory(order['maxBytes'])
        return tool

    def kill(self, number):
        begun = self.running.get(number)
        if begun and not begun.end:
            os.kill(begun.pid, signal.SIGKILL)

    def leave(self):
        self.sweep()
        sys.exit()

    def hear_signals(self, fd):
        if signal.SIGTERM in os.read(fd, 4096):
            self.leave()
        self.reap()
        self.sweep()

    def reap(self):
        for _ in range(MOST_DEAD_AT_ONCE):
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self.spared.discard(pid)
            begun = next((one for one in self.alive() if one.pid == pid), None)
            if begun:
                begun.has_ended(end_of(status))
                self.settle(begun)
        os.kill(os.getpid(), signal.SIGCHLD)  # the rest later: whoever gives orders has a turn first

    def sweep(self):
        """Kills orphans, upon which their children become ours, until there are none."""
        orphans = self.orphans()
        for pid in orphans:
            kill(os.kill, pid, signal.SIGKILL)
        for begun in list(self.running.values()):
            if begun.is_sweeping() and (not orphans or time.monotonic() >= begun.sweep_until):
                begun.unreaped = len(orphans)
                self.spared.update(orphans)
                self.settle(begun)

    def orphans(self):
        known = self.spared.union(begun.pid for begun in self.alive())
        return [pid for pid in children() if pid not in known]

    def alive(self):
        return [begun for begun in self.running.values() if not begun.end]

    def settle(self, begun):
        """Tells its end, once there is nothing more to hear of it."""
        if begun.end and begun.is_silent():
            del self.running[begun.id]
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
