"""The least that can be called a generation: a video that was made before, and the time of day.

Writes when it began, as its first act, and when it ended, as its last, to the file NOOP_JOURNAL.
"""

import time

began = time.time_ns()

import os
import sys

journal = os.open(os.environ['NOOP_JOURNAL'], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
target = next((sys.argv[n + 1] for n, arg in enumerate(sys.argv) if arg == '--save_file'), None)
if target:
    with open(os.environ['NOOP_VIDEO'], 'rb') as source, open(target, 'wb') as copy:
        copy.write(source.read())
gpu = os.environ.get('CUDA_VISIBLE_DEVICES', '-')
os.write(journal, b'%s %d %d\n' % (gpu.encode(), began, time.time_ns()))
os._exit(0)
