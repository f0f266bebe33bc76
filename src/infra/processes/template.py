"""Loads Wan2.2 once, and is forked for each attempt from then on.

    python3 template.py SETUP

SETUP is a JSON object: launcher, options (those of the launcher), script, cwd, task, checkpoint,
arguments (those that every job has). The fork server starts us with the Python of generations, and a
socket as descriptor 3 (template_process.py):

    {"template": "ready", "tookMs": ..., "privateBytes": ..., "sharedBytes": ...}
    {"template": "failed", "why": "..."}    it cannot be: generations are to be started cold
    {"template": "stale", "why": "..."}     a file is not what was loaded: we end, another is to be built
    {"id": 5, "forked": PID}                or "declined", with the reason

A standby is forked like a shim, before there is an order. It has a socket of its own, where it answers
its order in the same words.

We never touch CUDA, and have one thread: a fork of a process that has more of either could not use
the GPU, or would wait for threads that it does not have.

A forked shim is one like others (shim.py), but for its generation, which is forked from it and not
executed. It waits for leave to begin, until it is a child of the fork server.
"""

import json
import os
import select
import signal
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WRITES_BYTECODE = sys.dont_write_bytecode
sys.dont_write_bytecode = True  # where we are installed is no place to write to

from child_processes import (
    OOM_TEMPLATE,
    PR_SET_PDEATHSIG,
    can_be_marked,
    fork,
    name_process,
    offer_memory,
    oom_score,
    prctl,
    set_oom_score,
    show_as,
)
from event_loop import NEVER, Events, catch_signals, forget_signals
from shim_process import become_shim

SOCKET = 3  # template_process.py has the same
MAX_MESSAGE = 1024 * 1024


def main():
    began = time.monotonic()
    setup = json.loads(sys.argv[1])
    become_template()
    link = socket.socket(fileno=SOCKET)
    link.set_inheritable(False)
    added = environment_added(json.loads(link.recv(MAX_MESSAGE))['environment'])
    own_score = oom_score()
    offer_memory(OOM_TEMPLATE)
    try:
        if not can_be_marked():
            raise RuntimeError('its generations could not be marked: RLIMIT_LOCKS is too low')
        os.chdir(setup['cwd'])
        wan = own_package(setup['launcher']).build(setup)
    except BaseException as error:
        tell(link, {'template': 'failed', 'why': f'{type(error).__name__}: {error}'[:2000]})
        raise
    took_ms = round((time.monotonic() - began) * 1000)
    Template(link, wan, own_score, added).run({'template': 'ready', 'tookMs': took_ms, **wan.facts()})


def become_template():
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # which no fork inherits
    if os.getppid() != int(os.environ.pop('WAN_TEMPLATE_PARENT')):
        os._exit(127)
    os.setsid()
    name_process('wan-template')


def environment_added(given):
    """By a wrapper around Python. It would do the same for a generation that is started cold."""
    places = ('PWD', 'OLDPWD', 'SHLVL', '_')
    return {
        name: value
        for name, value in os.environ.items()
        if given.get(name) != value and name not in places
    }


def own_package(launcher):
    """Hides our modules from the script: it has its own search path, and may have any names."""
    folder = os.path.dirname(launcher)
    sys.path.insert(0, folder)
    import wan_template.building as building

    sys.path[:] = [path for path in sys.path if path not in (folder, HERE)]
    sys.path.insert(0, '')  # to be the folder of the script
    for name, module in list(sys.modules.items()):
        if name != '__main__' and os.path.dirname(getattr(module, '__file__', None) or '') == HERE:
            del sys.modules[name]
    sys.dont_write_bytecode = WRITES_BYTECODE
    return building


class Template:
    def __init__(self, link, wan, own_score, environment_added):
        self.link = link
        self.wan = wan
        self.own_score = own_score
        self.environment_added = environment_added
        self.fork_server = os.getppid()
        self.events = Events()

    def run(self, news):
        self.wan.settle(ours=self.link.fileno())
        self.signals = catch_signals()
        self.events.add(self.signals, self.hear_signals)
        self.events.add(self.link.fileno(), self.receive)
        tell(self.link, news)
        while True:
            self.events.wait(NEVER)

    def hear_signals(self, fd):
        if signal.SIGTERM in os.read(fd, 4096):
            os._exit(0)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def receive(self, _):
        message, descriptors, _, _ = socket.recv_fds(self.link, MAX_MESSAGE, 4)
        if not message:
            os._exit(0)  # so has the fork server
        order = json.loads(message)
        why = self.wan.what_has_changed()
        if why:
            tell(self.link, {'id': order['id'], 'declined': why})
            tell(self.link, {'template': 'stale', 'why': why})
            os._exit(0)
        try:
            fork(lambda: self.stand_between(order, descriptors))
        except OSError as error:
            tell(self.link, {'id': order['id'], 'declined': f'it could not fork: {error.strerror}'})
        for fd in descriptors:
            os.close(fd)

    def stand_between(self, order, descriptors):
        """Runs in a child, whose end makes the one that it forks a child of the fork server."""
        between = os.getpid()
        try:
            pid = fork(lambda: self.begin(order, descriptors, between))
        except OSError as error:
            tell(self.link, {'id': order['id'], 'declined': f'it could not fork: {error.strerror}'})
            return
        tell(self.link, {'id': order['id'], 'forked': pid})
        leave = select.poll()
        leave.register(descriptors[0], select.POLLIN)
        leave.poll()

    def begin(self, order, descriptors, between):
        """Runs in the child of that child."""
        leave, *given = descriptors
        self.link.close()
        os.close(signal.set_wakeup_fd(-1))
        os.close(self.signals)
        if not os.read(leave, 1):
            return  # the order was given up
        os.close(leave)
        if 'standby' in order:
            self.stand_by(socket.socket(fileno=given[0]), between)
        elif 'probe' in order:
            set_oom_score(self.own_score)
            self.probe(self.environment_for(order), given, between)
        else:
            self.become_shim(order, *given)

    def stand_by(self, link, between):
        forget_signals()  # one that came now would otherwise end the shim of a job, some day
        link.set_inheritable(False)
        self.end_with_fork_server(between)
        name_process('wan-standby')
        message, descriptors, _, _ = socket.recv_fds(link, MAX_MESSAGE, 4)
        if not message:
            return  # it is not needed any more
        order = json.loads(message)
        leave, log = descriptors
        why = self.wan.what_has_changed()
        if why:
            tell(link, {'id': order['id'], 'declined': why})
            return
        prctl(PR_SET_PDEATHSIG, 0)  # a shim outlives the fork server
        tell(link, {'id': order['id'], 'forked': os.getpid()})
        if not os.read(leave, 1):
            return  # the order was given up, or the fork server has ended
        os.close(leave)
        link.close()
        self.become_shim(order, log)

    def become_shim(self, order, log):
        set_oom_score(self.own_score)
        name_process('wan-shim')
        become_shim(order['shim'], self.environment_for(order), log, run=self.become_generation)

    def environment_for(self, order):
        return {**order['env'], **self.environment_added}

    def end_with_fork_server(self, between):
        while os.getppid() == between:
            time.sleep(0.001)  # soon it has ended, which is not to end us
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.fork_server:
            os._exit(0)

    def become_generation(self, argv, begun):
        show_as(*(argument.decode() for argument in argv))
        name_process('wan-generation')
        self.wan.become_generation(argv, begun)

    def probe(self, env, outputs, between):
        self.end_with_fork_server(between)
        name_process('wan-probe')
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        for fd in outputs:
            os.close(fd)
        forget_signals()
        self.wan.probe(env)


def tell(link, message):
    link.send(json.dumps(message).encode())


if __name__ == '__main__':
    main()
