"""Processes: how they are forked, signalled, found and told apart."""

import contextlib
import ctypes
import os
import resource
import signal
import sys

from event_loop import forget_signals

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>: Python knows neither these nor prctl
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36

# Of /proc/PID/stat, counted from the third: where the arguments lie in memory.
ARG_START, ARG_END = 45, 46

# Added to the badness of a process, in thousandths of the memory: when the host has none left, the
# kernel ends a generation first, then a template. Shims and the service keep what they have.
OOM_GENERATION = 800
OOM_TEMPLATE = 400

# A limit without effect since Linux 2.4.25. Processes inherit it whatever becomes of their parents,
# sessions and environments, and without privileges they can only lower it. So it marks an attempt.
RLIMIT_LOCKS = 10
MAX_MARK = 2**48 - 1  # strays.ts makes them


def execute(argv, begun):
    os.execvp(argv[0], argv)  # which closes `begun`


def fork_worker(spec, outputs, run):
    """Returns the worker's pid, and a pipe that is closed by its exec or brings the reason why
    there was none. Nobody waits for that here: on a hung file system it would take for ever."""
    cookie = f'{spec["job"]}/{spec["epoch"]}'
    cwd = spec['cwd'].encode()  # UTF-8, whatever the locale
    argv = [argument.encode() for argument in spec['argv']]
    shim = os.getpid()
    verdict, report = os.pipe()
    pid = fork(lambda: become_worker(shim, report, outputs, spec.get('mark'), cookie, cwd, argv, run))
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


def become_worker(shim, report, outputs, mark, cookie, cwd, argv, run):
    """Runs in the child, and never returns. `run` has the arguments, and closes the pipe to report
    to when nothing can prevent the worker any more."""
    doing = 'prepare the worker'
    try:
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shim:
            os._exit(127)  # the shim died before it could take us along
        os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
        os.dup2(outputs[0].writer, 1)
        os.dup2(outputs[1].writer, 2)
        forget_signals()
        # By these two its processes are found when the shim was killed.
        os.environ['WAN_ATTEMPT'] = cookie
        set_mark(mark)
        offer_memory(OOM_GENERATION)
        doing = f'enter {cwd.decode()}'
        os.chdir(cwd)
        doing = f'run {argv[0].decode()}'
        run(argv, report)
    except BaseException as error:
        why = getattr(error, 'strerror', None) or error
        os.write(report, f'cannot {doing}: {why}'.encode('utf-8', 'replace')[:4096])
    finally:
        os._exit(127)


def set_mark(mark):
    if mark is None:
        return
    try:
        resource.setrlimit(RLIMIT_LOCKS, (mark, mark))
    except (OSError, ValueError):
        pass  # a lower limit is in force here


def can_be_marked():
    """Whether any mark can be set. Where it can, no other means is needed to find a process that has
    no command line and no environment of its own."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(RLIMIT_LOCKS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _, hard = resource.getrlimit(RLIMIT_LOCKS)
    return hard == resource.RLIM_INFINITY or hard >= MAX_MARK


def offer_memory(share):
    """Adds to our own badness, which forked processes inherit."""
    set_oom_score(min(1000, oom_score() + share))


def oom_score():
    try:
        with open('/proc/self/oom_score_adj') as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def set_oom_score(score):
    """Without privileges it cannot become less than root has set."""
    with contextlib.suppress(OSError), open('/proc/self/oom_score_adj', 'w') as file:
        file.write(str(score))


def show_as(*arguments):
    """Writes over our own arguments, so that whoever looks at the processes sees another command.
    The blanks that we were started with make room for that; what is too long is cut off."""
    fields = stat_fields(os.getpid())
    start, end = int(fields[ARG_START]), int(fields[ARG_END])
    shown = b''.join(argument.encode() + b'\0' for argument in arguments)
    room = end - start
    ctypes.memmove(start, shown[: room - 1].ljust(room, b'\0'), room)


def name_process(name):
    """What `ps -o comm` shows: 15 bytes."""
    shown = ctypes.create_string_buffer(name.encode())
    prctl(PR_SET_NAME, ctypes.addressof(shown))


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


def signal_group(leader, number):
    """SIGKILL reaches the leader even if it has moved to another group."""
    kill(os.killpg, leader, number)
    if number == signal.SIGKILL:
        kill(os.kill, leader, number)


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
