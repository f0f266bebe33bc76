"""Starts the processes of a service: its shims, and the tools that it waits for.

    python3 -I -S fork_server.py

Node stands still while it starts a process, for some milliseconds at best and for tens of them when
the machine is busy; and a shim that is forked from here needs no interpreter of its own. Orders come
as JSON lines on stdin, each with an id that everything said about it on stdout has too:

    {"id": 1, "shim": DIR, "env": {...}}
    {"id": 2, "tool": ["ffmpeg", ...], "env": {...}, "maxBytes": 1073741824}
    {"id": 2, "kill": true}
    {"id": 3, "ping": true}
    {"id": 4, "template": ["python3", ...], "env": {...}, "standby": true}
    {"id": 5, "shim": DIR, "env": {...}, "from": 4}
    {"id": 6, "probe": 4, "env": {...}}

    {"id": 1, "pid": PID, "start": TICKS}               it was started
    {"id": 5, "pid": PID, "start": TICKS, "from": 4}    it was forked from the template; or, with
                                                        "standby", before it was ordered
    {"id": 5, "pid": PID, "start": TICKS, "why": "..."} it was not, for this reason, but started as others
    {"id": 1, "error": CODE, "message": "..."}          it could not be
    {"id": 1, "code": 0, "signal": null, "unreaped": 0}                      a shim has ended
    {"id": 2, "code": 0, "signal": null, "stdout": "...", "stderr": "..."}   a tool has ended
    {"id": 3, "pong": true}
    {"id": 4, "template": "ready", ...}                 a template has loaded (template.py)

A template loads Wan2.2 once. The generation of a shim that is forked from it has loaded already. Such
shims, and probes, become our children when they are forked: the end of their template is nothing to
them. A shim that the template cannot fork now is started without it. With a standby, the template has
forked the next shim before it is ordered, if it could.

A process below us that loses its parent becomes our child. The descendants of a shim do so only when
it has died, and are killed: the end of a shim is reported when none of them is left, or SWEEP_S later
with the number of those that survive SIGKILL.

When stdin ends, the service is gone: so are we, and what we have started stays.
"""

import errno
import gc
import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True  # where we are installed is no place to write to
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from child_processes import (
    PR_SET_CHILD_SUBREAPER,
    children,
    identity,
    kill,
    prctl,
    signal_name,
)
from event_loop import NEVER, Events, catch_signals
from order_link import Order
from shim_process import Shim, fork_shim, open_log
from template_process import NOT_READY, Probe, Template
from tool_process import Tool, give_way, limit_memory, spawn

SWEEP_AGAIN_S = 0.05
MOST_DEAD_AT_ONCE = 256


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
            soon = time.monotonic() + SWEEP_AGAIN_S if is_sweeping else NEVER
            due = min((template.next_deadline() for template in self.templates()), default=NEVER)
            self.events.wait(min(soon, due))
            for template in self.templates():
                template.meet_deadline()
            if is_sweeping:
                self.sweep()

    def templates(self):
        return [begun for begun in self.running.values() if isinstance(begun, Template)]

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
        if 'probe' in order:
            self.attempt(order, self.begin_probe)
        elif 'from' in order:
            self.attempt(order, self.begin_warm)
        else:
            self.attempt(order, self.begin_here)

    def attempt(self, order, begin):
        try:
            begin(order)
        except OSError as error:
            self.refuse(order, errno.errorcode.get(error.errno), error.strerror)
        except MemoryError:
            self.refuse(order, 'ENOMEM', os.strerror(errno.ENOMEM))

    def refuse(self, order, code, message):
        tell({'id': order['id'], 'error': code, 'message': message})

    def begin_here(self, order, **details):
        self.has_begun(self.start(order), **details)

    def has_begun(self, begun, **details):
        self.running[begun.id] = begun
        tell({'id': begun.id, **identity(begun.pid), **details})

    def start(self, order):
        number, env = order['id'], order['env']
        if 'shim' in order:
            return Shim(number, fork_shim(order['shim'], env, self.forget))
        if 'template' in order:
            has_standby = order.get('standby', False)
            return Template(
                number, self.events, self.settle, tell, order['template'], env, has_standby
            )

        def start(stdout, stderr):
            pid = spawn(order['tool'], env, (stdout, 1), (stderr, 2))
            give_way(pid)
            if 'maxBytes' in order:
                limit_memory(pid, order['maxBytes'])
            return pid

        return Tool(number, self.events, self.settle, start)

    def begin_warm(self, order):
        template = self.running.get(order['from'])
        if isinstance(template, Template):
            self.ask(template, template.takers(), order)
        else:
            self.begin_here(order, why=NOT_READY)

    def ask(self, template, takers, order):
        """The first that does not decline carries out an order for a shim. If all do, we do so here."""
        taker, *others = takers
        number = order['id']
        how = {'from': template.id} if taker is template else {'from': template.id, 'standby': True}

        def accepted(pid):
            self.has_begun(Shim(number, pid), **how)
            template.has_forked()

        def declined(why):
            if others:
                self.attempt(order, lambda _: self.ask(template, others, order))
            else:
                self.attempt(order, lambda _: self.begin_here(order, why=why))

        log = open_log(order['shim'])
        try:
            message = {'shim': order['shim'], 'env': order['env']}
            if not taker.take(Order(number, message, [log], accepted, declined)):
                declined(NOT_READY)
        finally:
            os.close(log)

    def begin_probe(self, order):
        def declined(why):
            self.running.pop(order['id'], None)
            self.refuse(order, None, why)

        template = self.running.get(order['probe'])
        probe = Probe(order, self.events, self.settle, template, self.has_begun, declined)
        self.running[probe.id] = probe

    def kill(self, number):
        begun = self.running.get(number)
        if begun and begun.pid and not begun.end:
            os.kill(begun.pid, signal.SIGKILL)

    def leave(self):
        for template in self.templates():
            template.drop_standby()
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
                if begun in self.running.values():
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
        standbys = [one for template in self.templates() for one in template.children()]
        return [begun for begun in [*self.running.values(), *standbys] if not begun.end]

    def settle(self, begun):
        """Tells its end, once there is nothing more to hear of it."""
        if begun.end and begun.is_silent():
            del self.running[begun.id]
            tell({'id': begun.id, **begun.end, **begun.said()})

    def forget(self):
        """Leaves nothing to a fork of what we have."""
        os.close(signal.set_wakeup_fd(-1))
        os.close(self.signals)
        for begun in self.running.values():
            begun.forget()


def end_of(status):
    if os.WIFSIGNALED(status):
        return {'code': None, 'signal': signal_name(os.WTERMSIG(status))}
    return {'code': os.WEXITSTATUS(status), 'signal': None}


def tell(message):
    left = json.dumps(message).encode() + b'\n'
    while left:
        left = left[os.write(1, left) :]


if __name__ == '__main__':
    main()
