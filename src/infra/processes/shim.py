"""Stands between the service and one attempt at a job, so that neither takes the other along.

    python3 -I -S shim.py DIR

The service may be killed or replaced while a worker runs. This process, not the service, is the
worker's parent: it sees the worker end whoever else is alive, clears away what the worker left
behind, and leaves the result in DIR for any later service. It writes nowhere else.

    spec.json    what to run, there before we start: job, epoch, argv, cwd
    claim        made by us to begin the attempt, or by the service to revoke it: the first one wins
    ctl.sock     JSON lines: we say hello, obey `stop` and `ping`, and push the exit
    state.json   who runs; the start times tell them from later processes with the same pids
    stdout.log, stderr.log   the worker's output
    exit.json    how it ended; durable once it is there

The service has us forked by fork_server.py, which spares each of us the start of an interpreter.
"""

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time

SIGTERM_GRACE_MS = 10_000
MAX_GRACE_MS = 24 * 60 * 60 * 1000
SWEEP_S = 5  # how long the killed may take to go before we leave without them
SWEEP_AGAIN_S = 0.05
WRITE_AGAIN_S = 1
LONGEST_LINE = 64 * 1024
MOST_CLIENTS = 64
MOST_DEAD_AT_ONCE = 256
NEVER = float('inf')

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>: Python knows neither these nor prctl
PR_SET_CHILD_SUBREAPER = 36

CAUGHT = (signal.SIGCHLD, signal.SIGTERM)
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)


def main(directory):
    os.chdir(directory)  # names are relative from here on: a socket's holds 107 bytes at most
    try:
        os.close(os.open('claim', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return  # the attempt was revoked before it began
    Shim().run()


class Shim:
    """The life of one attempt: start the worker, wait for its end, sweep, save the result.

    It is one loop that never blocks, so that clients are answered to the last, even while a worker
    in a hung driver call survives its SIGKILL, or the disk has no room for the result.
    """

    def __init__(self):
        self.events = Events()
        self.clients = Clients(self.events, self.greeting, self.obey)
        self.spec = {}
        self.boot = None
        self.started_at = None
        self.worker = None  # its pid from fork to reaping: no other process can have it meanwhile
        self.verdict = None  # a pipe that tells whether exec went well, until it has told
        self.error = None
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
        self.told = False
        self.done = False

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
        self.worker, self.verdict = fork_worker(self.spec)
        self.events.add(self.verdict, self.hear_verdict)

    # Time

    def next_deadline(self):
        if self.end and not self.result:
            return time.monotonic() + SWEEP_AGAIN_S
        return min(self.kill_due, self.state_due, self.result_due)

    def meet_deadlines(self):
        now = time.monotonic()
        if now >= self.kill_due:
            self.kill_due = NEVER
            self.signal_worker(signal.SIGKILL)
        if now >= self.state_due:
            self.save_state()
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
        }
        return [{'hello': hello}] + ([{'exit': self.result}] if self.result else [])

    def obey(self, command):
        """Returns the answer, if there is one. An unknown command is left undone: the service may
        well be newer than this shim."""
        if command['op'] == 'ping':
            return {'pong': True}
        if command['op'] == 'stop':
            self.stop(command['graceMs'], command['reason'])
        return None

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
            }
            self.save_state()

    def signal_worker(self, number):
        """Signals its whole group; SIGKILL hits it even if it has moved to another group."""
        if self.worker:
            kill(os.killpg, self.worker, number)
            if number == signal.SIGKILL:
                kill(os.kill, self.worker, number)

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
        for fd, _ in self.poll.poll(timeout_ms):
            if fd in self.callbacks:  # not if an earlier callback has removed it
                self.callbacks[fd](fd)


class Clients:
    """Whoever is connected to the socket. Nobody there can block or break the shim: those who talk
    nonsense, or do not read what they are sent, are dropped."""

    def __init__(self, events, greeting, obey):
        self.events = events
        self.greeting = greeting
        self.obey = obey
        self.listener = None
        self.connected = {}  # the oldest first
        self.begun = {}  # the line each of them has not ended yet

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.setblocking(False)
        self.listener.bind('ctl.sock')
        os.chmod('ctl.sock', 0o600)
        self.listener.listen(MOST_CLIENTS)
        self.events.add(self.listener.fileno(), self.accept)

    def accept(self, _):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # it has hung up by now
        if len(self.connected) == MOST_CLIENTS:
            self.drop(next(iter(self.connected)))  # the newest is the likeliest to be the service
        client.setblocking(False)
        fd = client.fileno()
        self.connected[fd] = client
        self.begun[fd] = b''
        self.events.add(fd, self.receive)
        for message in self.greeting():
            self.tell(fd, message)

    def receive(self, fd):
        try:
            received = self.connected[fd].recv(LONGEST_LINE)
        except BlockingIOError:
            return  # the event was for a client that was dropped, and this one has its number now
        except OSError:
            received = b''
        if not received:
            self.drop(fd)
            return
        *lines, self.begun[fd] = (self.begun[fd] + received).split(b'\n')
        try:
            if len(self.begun[fd]) > LONGEST_LINE:
                raise ValueError('overlong')
            for line in lines:
                answer = self.obey(parse_command(line))
                if answer:
                    self.tell(fd, answer)
        except ValueError:
            self.drop(fd)

    def tell(self, fd, message):
        if fd not in self.connected:
            return
        line = json.dumps(message).encode() + b'\n'
        try:
            sent = self.connected[fd].send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self.drop(fd)

    def tell_all(self, message):
        for fd in list(self.connected):
            self.tell(fd, message)

    def drop(self, fd):
        if fd in self.connected:
            self.events.remove(fd)
            self.connected.pop(fd).close()
            del self.begun[fd]

    def close(self):
        for fd in list(self.connected):
            self.drop(fd)
        if self.listener:
            self.listener.close()
            try:
                os.unlink('ctl.sock')
            except OSError:
                pass  # it has been deleted, or could not be made


def parse_command(line):
    """Raises ValueError for whatever is not a command."""
    if len(line) > LONGEST_LINE:
        raise ValueError('overlong')
    try:
        command = json.loads(line)
    except RecursionError:
        raise ValueError('too deep')
    if not isinstance(command, dict):
        raise ValueError('not an object')
    op, grace_ms, reason = command.get('op'), command.get('graceMs'), command.get('reason')
    if op == 'stop':
        if not isinstance(grace_ms, (int, float)) or not grace_ms >= 0:  # nor is NaN
            raise ValueError('no grace')
        if not isinstance(reason, (str, type(None))):
            raise ValueError('no reason')
    return {'op': op, 'graceMs': grace_ms, 'reason': reason}


def fork_worker(spec):
    """Returns the worker's pid, and a pipe that is closed by its exec or brings the reason why
    there was none. Nobody waits for that here: on a hung file system it would take for ever."""
    cookie = f'{spec["job"]}/{spec["epoch"]}'
    cwd = spec['cwd'].encode()  # UTF-8, whatever the locale
    argv = [argument.encode() for argument in spec['argv']]
    shim = os.getpid()
    verdict, report = os.pipe()
    pid = fork(lambda: become_worker(shim, report, cookie, cwd, argv))
    os.close(report)
    try:
        os.setpgid(pid, pid)  # here as in the child: whoever is first, the group exists from now on
    except OSError:
        pass  # the child was first, and has even called exec
    return pid, verdict


def fork(become):
    """Returns the pid of a child that runs `become` and ends. No signal may reach it while it still
    has our handlers, which would tell it to us: it is to call `forget_signals`."""
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            live(become)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return pid


def live(life):
    code = 1
    try:
        life()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def forget_signals():
    for number in (*CAUGHT, *IGNORED):
        signal.signal(number, signal.SIG_DFL)  # exec would pass on what is ignored
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def become_worker(shim, report, cookie, cwd, argv):
    """Runs in the child, and never returns."""
    doing = 'prepare the worker'
    try:
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shim:
            os._exit(127)  # the shim died before it could take us along
        os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
        os.dup2(os.open('stdout.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
        os.dup2(os.open('stderr.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
        forget_signals()
        os.environ['WAN_ATTEMPT'] = cookie  # by this its strays are found if the shim is killed
        doing = f'enter {cwd.decode()}'
        os.chdir(cwd)
        doing = f'run {argv[0].decode()}'
        os.execvp(argv[0], argv)
    except BaseException as error:
        why = getattr(error, 'strerror', None) or error
        os.write(report, f'cannot {doing}: {why}'.encode('utf-8', 'replace')[:4096])
    finally:
        os._exit(127)


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


def prctl(option, value):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(word) for word in (value, 0, 0, 0))) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def kill(send, target, number):
    try:
        send(target, number)
    except (ProcessLookupError, PermissionError):
        pass  # there is nobody there, or it has become another user's


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'SIG{number}'  # most real-time signals have no name


def children():
    me = os.getpid()
    try:
        with open(f'/proc/self/task/{me}/children') as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # this kernel was built without it
        pids = [int(name) for name in os.listdir('/proc') if name.isdigit()]
        return [pid for pid in pids if stat_fields(pid)[1:2] == [str(me)]]


def identity(pid):
    """A pid is given out again one day; with the time of its start it is unique until the boot."""
    return {'pid': pid, 'start': int(stat_fields(pid)[19])}


def stat_fields(pid):
    """/proc/PID/stat from its third field on. The second is the program's name in parentheses,
    which may itself hold spaces and parentheses. Nothing if there is no such process."""
    try:
        with open(f'/proc/{pid}/stat', 'rb') as file:
            return file.read().rpartition(b')')[2].decode().split()
    except OSError:
        return []


def boot_id():
    with open('/proc/sys/kernel/random/boot_id') as file:
        return file.read().strip()


def now_ms():
    return int(time.time() * 1000)


def write_json(name, content, durable=False):
    """A reader sees all of it or nothing. Durable: so it does after a power cut."""
    with open(f'{name}.tmp', 'wb') as file:
        file.write(json.dumps(content).encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.rename(f'{name}.tmp', name)
    if durable:
        directory = os.open('.', os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


if __name__ == '__main__':
    main(sys.argv[1])
