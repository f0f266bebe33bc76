"""A script in place of generate.py that says what it finds, for cold and warm starts to be compared."""
import atexit
import json
import logging
import os
import random
import resource
import signal
import sys

import torch
import wan
from wan.configs import WAN_CONFIGS

leftover = os.environ.get('LEAVE')


def found():
    signals = {}
    for number in sorted(signal.valid_signals()):
        handler = signal.getsignal(number)
        signals[int(number)] = getattr(handler, '__name__', None) or str(handler)
    main = sys.modules['__main__']
    return {
        'argv': sys.argv, 'path': sys.path[0], 'cwd': os.getcwd(), 'flags': str(sys.flags),
        'main': {name: str(getattr(main, name, None)) for name in ('__name__', '__file__', '__spec__')},
        'signals': signals, 'blocked': [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        'handlers': [str(type(one)) for one in logging.root.handlers], 'level': logging.root.level,
        'environ': dict(os.environ), 'descriptors': len(os.listdir('/proc/self/fd')),
        'stdin': os.readlink('/proc/self/fd/0'), 'umask': os.umask(0o22),
        'leads': os.getpgrp() == os.getpid(), 'leadsSession': os.getsid(0) == os.getpid(),
        'mark': resource.getrlimit(10), 'threads': torch.get_num_threads(), 'seed': torch.initial_seed(),
        'oom': open('/proc/self/oom_score_adj').read(), 'bytecode': sys.dont_write_bytecode,
        'ours': sorted(name for name in sys.modules if name in ('shim', 'template', 'event_loop')),
        'random': random.random(),
    }


def say(text):
    print(text, flush=True)


atexit.register(lambda: say('at exit'))
logging.basicConfig(level=logging.INFO, format='%(message)s', handlers=[logging.StreamHandler(sys.stdout)])
say(json.dumps(found()))
wan.WanTI2V(WAN_CONFIGS['ti2v-5B'], checkpoint_dir=sys.argv[sys.argv.index('--ckpt_dir') + 1])
exec(os.environ.get('THEN', ''))
