"""How a fork of a template becomes a generation like one that was started cold."""

import atexit
import contextlib
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import weakref

from wan_launcher import hooks, script


class Fresh:
    """What a process that has just imported Wan2.2 has, and one that has loaded it has no more."""

    def __init__(self, told, threads, seed, bars, handlers, level):
        self.told = told  # events of the import
        self.threads = threads
        self.seed = seed
        self.bars = bars
        self.handlers = handlers
        self.level = level

    def restore(self):
        torch = sys.modules['torch']
        torch.set_num_threads(self.threads_wanted())
        torch.manual_seed(self.seed)
        random.seed()
        if 'numpy' in sys.modules:
            sys.modules['numpy'].random.seed()
        if self.bars:
            tqdm, interval = self.bars
            tqdm.monitor_interval = interval
        logging.root.handlers[:] = self.handlers
        logging.root.setLevel(self.level)
        time.tzset()

    def threads_wanted(self):
        """As PyTorch reads it when it is imported."""
        given = os.environ.get('OMP_NUM_THREADS', '')
        return int(given) if given.isdigit() and int(given) > 0 else self.threads


def become(wan, argv, begun):
    """Runs in the child of a shim, which has its descriptors 0 to 2, its environment, its marks and
    its directory. Never returns. `begun` is closed when nothing prevents the script any more."""
    python, _, *rest = (argument.decode() for argument in argv)
    at = rest.index(wan.setup['script'])
    options, events, command = rest[: at - 1], rest[at - 1], rest[at:]
    take_over(wan, begun)
    path, code = os.path.join(os.getcwd(), command[0]), wan.code
    if path != wan.script:
        raise FileNotFoundError(2, f'no template has loaded {path}')
    hooks.want(options)
    module = script.become(path, command, [python])
    wan.fresh.restore()
    journal = wan.recorder
    journal.is_building = False
    journal.continue_at(events)
    os.close(begun)
    journal.tell('started')
    for event, details in wan.fresh.told:
        journal.tell(event, **details)
    os._exit(status_of(lambda: script.run(code, module, journal)))


def take_over(wan, begun):
    """Leaves the process nothing of its shim and its template but what libraries have opened."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)  # as Python does when it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = {0, 1, 2, begun, *wan.library_descriptors}
    for name in os.listdir('/proc/self/fd'):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(int(name))
    atexit._clear()  # what the template would do at its own end, as to remove folders that it uses
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False
    weakref.finalize._registered_with_atexit = False


def status_of(run):
    """Exit status of the script, after what Python does at the end of a process. It does not take
    the process down piece by piece: that would touch, and so copy, all that it shares."""
    status = 0
    try:
        run()
    except SystemExit as request:
        status = status_asked_for(request.code)
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        status = None
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(Exception):
        threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            status = status or 120
    if status is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def status_asked_for(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def probe(env):
    """Uses the GPU as a generation will, and says what that took."""
    os.environ.clear()
    os.environ.update(env)
    began = time.monotonic()
    torch = sys.modules['torch']
    torch.cuda.init()
    initialised = time.monotonic()
    ones = torch.ones((64, 64), device='cuda')
    total = float((ones @ ones).sum())
    if total != 64**3:
        raise ArithmeticError(f'the product of two matrices has the sum {total} instead of {64**3}')
    took = {'initS': initialised - began, 'productS': time.monotonic() - initialised}
    print(json.dumps(took), flush=True)
