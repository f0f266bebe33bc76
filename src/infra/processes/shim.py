"""Stands between the service and one attempt at a job, so that neither takes the other along.

    python3 -I -S shim.py DIR

The service may be killed or replaced while a worker runs. This process, not the service, is the
worker's parent: it sees the worker end whoever else is alive, clears away what the worker left
behind, and leaves the result in DIR for any later service. It writes nowhere else.

    spec.json    what to run, there before we start: job, epoch, argv, cwd
    claim        made by us to begin the attempt, or by the service to revoke it: the first one wins
    ctl.sock     JSON lines: we say hello, obey `stop` and `ping`, and push the exit
    state.json   who runs; the start times tell them from later processes with the same pids
    stdout.log, stderr.log   the worker's output, of bounded size (shim_output.py)
    exit.json    how it ended; durable once it is there

The service has us forked by fork_server.py, which spares each of us the start of an interpreter.
All modules are imported before the first fork, so an upgrade of the files changes no shim that runs.
"""

import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True  # the installation directory may be read-only
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # `-I` leaves it out

from child_processes import (
    PR_SET_CHILD_SUBREAPER,
    boot_id,
    children,
    execute,
    fork_worker,
    identity,
    kill,
    prctl,
    signal_group,
    signal_name,
)
from event_loop import NEVER, Events, catch_signals, now_ms
from shim_clients import Clients
from shim_output import Output
from work_files import trouble, write_json

SIGTERM_GRACE_MS = 10_000
TROUBLE_GRACE_MS = 2_000
MAX_GRACE_MS = 24 * 60 * 60 * 1000
SWEEP_S = 5  # how long the killed may take to go before we leave without them
SWEEP_AGAIN_S = 0.05
WRITE_AGAIN_S = 1
CHECK_AGAIN_S = 1  # the files of the worker; a check of many takes at most a tenth of the time
MOST_DEAD_AT_ONCE = 256


def main(directory, run=execute):  # a template becomes the worker without exec
    os.chdir(directory)  # names are relative from here on: a socket's holds 107 bytes at most
    try:
        os.close(os.open('claim', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return  # the attempt was revoked before it began
    Shim(run).run()


class Shim:
    """The life of one attempt: start the worker, wait for its end, sweep, save the result.

    It is one loop that never blocks, so that clients are answered to the last, even while a worker
    in a hung driver call survives its SIGKILL, or the disk has no room for the result.
    """

    def __init__(self, run):
        self.become_worker = run
        self.how = 'cold' if run is execute else 'warm'
        self.events = Events()
        self.clients = Clients(self.events, self.greeting, self.obey)
        self.spec = {}
        self.boot = None
        self.started_at = self.error = None
        self.worker = None  # its pid from fork to reaping: no other process can have it meanwhile
        self.verdict = None  # a pipe that tells whether exec went well, until it has told
        self.outputs = []
        self.check_due = NEVER
        self.state = None  # what state.json shall say
        self.state_due = NEVER
        self.stopped = False
        self.reason = None
        self.kill_due = NEVER
        self.end = None  # what is known of the worker's end, once it has come
        self.sweep_until = None
        self.strays = 0
        self.result = None  # what exit.json shall say
        self.result_due = NEVER
        self.told = self.done = False

    def run(self):
        try:
            self.start()
        except Exception as error:  # whatever it is: an attempt that was claimed gets a result
            self.settle({'error': f'cannot start: {error}'})
        while not self.done:
            self.events.wait(self.next_deadline())
            self.meet_deadlines()
        self.clients.close()

    def start(self):
        if os.getsid(0) != os.getpid():
            try:
                os.setsid()
            except PermissionError:
                pass  # we lead a process group, as when started from an interactive shell
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # descendants that lose their parent become our children
        self.events.add(catch_signals(), self.hear_signals)
        self.clients.listen()  # first, so that no worker is ever out of reach
        with open('spec.json', 'rb') as file:
            self.spec = json.load(file)
        self.boot = boot_id()
        self.started_at = now_ms()
        self.outputs = [Output(self.events, name) for name in ('stdout.log', 'stderr.log')]
        self.worker, self.verdict = fork_worker(self.spec, self.outputs, self.become_worker)
        for output in self.outputs:
            output.hand_over()
        self.events.add(self.verdict, self.hear_verdict)
        self.check_due = time.monotonic() + CHECK_AGAIN_S

    # Time

    def next_deadline(self):
        if self.end and not self.result:
            return time.monotonic() + SWEEP_AGAIN_S
        return min(self.kill_due, self.state_due, self.result_due, self.check_due)

    def meet_deadlines(self):
        now = time.monotonic()
        if now >= self.kill_due:
            self.kill_due = NEVER
            self.signal_worker(signal.SIGKILL)
        if now >= self.state_due:
            self.save_state()
        if now >= self.check_due:
            self.check_files(now)
        if self.end and not self.result:
            self.sweep()
        if now >= self.result_due:
            self.save_result()

    # Clients

    def greeting(self):
        hello = {
            'job': self.spec.get('job'),
            'epoch': self.spec.get('epoch'),
            'worker': self.worker,
            'startedAt': self.started_at,
            'start': self.how,
        }
        return [{'hello': hello}] + ([{'exit': self.result}] if self.result else [])

    def obey(self, command):
        """Returns the answer, if there is one. An unknown command is left undone: the service may
        well be newer than this shim."""
        if command['op'] == 'ping':
            return {'pong': True}
        if command['op'] == 'stop':
            self.stop(command['graceMs'], command['reason'])

    def stop(self, grace_ms, reason):
        """SIGTERM now, SIGKILL after the grace. Saying it again can only shorten the grace."""
        if not self.worker:
            return
        if not self.stopped:
            self.stopped = True
            self.reason = reason
            self.signal_worker(signal.SIGTERM)
        grace_s = min(grace_ms, MAX_GRACE_MS) / 1000
        self.kill_due = min(self.kill_due, time.monotonic() + grace_s)

    def check_files(self, began):
        reason = trouble()
        if reason:
            self.stop(TROUBLE_GRACE_MS, reason)
        took = time.monotonic() - began
        self.check_due = began + max(CHECK_AGAIN_S, 10 * took) if self.worker else NEVER

    # Processes

    def hear_signals(self, fd):
        if signal.SIGTERM in os.read(fd, 4096):
            self.stop(SIGTERM_GRACE_MS, 'sigterm')
        self.reap()

    def hear_verdict(self, fd):
        """Exec has closed the pipe, or it failed and the pipe brings the reason."""
        self.error = os.read(fd, 4096).decode(errors='replace') or None
        self.events.remove(fd)
        os.close(fd)
        self.verdict = None
        if not self.error:
            self.state = {
                'shim': identity(os.getpid()),
                'worker': identity(self.worker),
                'boot': self.boot,
                'startedAt': self.started_at,
                'start': self.how,
            }
            self.save_state()

    def signal_worker(self, number):
        if self.worker:
            signal_group(self.worker, number)

    def reap(self):
        """Collects the dead. Returns whether there is a child left.

        Each is looked at before it is collected: until then the worker's pid, which is its group's
        number too, belongs to it even in death, so that killing the group can't hit a stranger.
        """
        for _ in range(MOST_DEAD_AT_ONCE):
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if dead is None:
                return True
            if dead.si_pid == self.worker:
                self.reap_worker()
            else:
                os.waitpid(dead.si_pid, 0)
                if self.end and dead.si_status == signal.SIGKILL and dead.si_code != os.CLD_EXITED:
                    self.strays += 1
        os.kill(os.getpid(), signal.SIGCHLD)  # the rest later: whoever else waits has a turn first
        return True

    def reap_worker(self):
        if self.verdict is not None:
            self.hear_verdict(self.verdict)
        self.signal_worker(signal.SIGKILL)
        _, status, usage = os.wait4(self.worker, 0)
        self.worker = None
        self.sweep_until = time.monotonic() + SWEEP_S
        self.end = {'endedAt': now_ms(), 'maxRssKiB': usage.ru_maxrss, 'error': self.error}
        if os.WIFSIGNALED(status):
            self.end['signal'] = signal_name(os.WTERMSIG(status))
        elif not self.error:
            self.end['code'] = os.WEXITSTATUS(status)

    def sweep(self):
        """Kills our children, upon which theirs become ours, until there are none. No new session,
        double fork or cleared environment lets a process escape this."""
        for pid in children():
            kill(os.kill, pid, signal.SIGKILL)
        if not self.reap():
            self.settle(self.end)
        elif time.monotonic() >= self.sweep_until:
            self.settle({**self.end, 'unreaped': len(children())})

    # Results

    def save_state(self):
        try:
            write_json('state.json', self.state)
            self.state_due = NEVER
        except OSError:
            self.state_due = time.monotonic() + WRITE_AGAIN_S

    def settle(self, known):
        for output in self.outputs:
            output.finish()
        now = now_ms()
        self.result = {
            'code': None,
            'signal': None,
            'reason': self.reason,
            'strays': self.strays,
            'unreaped': 0,
            'startedAt': self.started_at or now,
            'endedAt': now,
            'maxRssKiB': 0,
            'error': None,
            **known,
        }
        self.state_due = NEVER
        self.result_due = 0

    def save_result(self):
        """Clients hear the result once it is durable, or that has failed for the first time."""
        try:
            write_json('exit.json', self.result, durable=True)
            self.done = True
        except FileNotFoundError:
            self.done = True  # DIR was deleted, so nobody will ever look for the result
        except OSError:
            self.result_due = time.monotonic() + WRITE_AGAIN_S
        if not self.told:
            self.told = True
            self.clients.tell_all({'exit': self.result})


if __name__ == '__main__':
    main(sys.argv[1])
