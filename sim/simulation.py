"""The run that the stand-ins of Wan2.2's modules belong to: how long each thing takes, and what goes
wrong in it. `generate.py` puts its own here. Without it, as in a template of the service, that loads
before there is a run, the environment says all there is to know."""
import mmap
import os
import sys
import threading
import time

LOAD_S = 1.5

TEMPLATE_FAULTS = {
    'crash-import': 'an exception while importing',
    'crash-load': 'an exception while loading',
    'exit': 'ends with status 3 while loading',
    'hang-import': 'hangs for ever while importing',
    'hang-load': 'hangs for ever while loading',
    'thread': 'leaves a thread behind',
    'touch-cuda': 'uses the GPU while importing',
}


class Loading:
    """Loading without a run."""

    def __init__(self):
        self.fault = os.environ.get('SIM_TEMPLATE_FAULT', '')
        if self.fault not in ('', *TEMPLATE_FAULTS):
            raise ValueError(f'there is no fault {self.fault!r} of a template')
        self.seconds = float(
            os.environ.get('SIM_LOAD') or LOAD_S / float(os.environ.get('SIM_SPEED') or 1))
        self.checks_checkpoint = os.environ.get('SIM_CHECK_CKPT') == '1'
        self.faults = {}

    @property
    def task(self):
        arguments = sys.argv
        return arguments[arguments.index('--task') + 1] if '--task' in arguments else None

    def spend(self, phase, share=1.0):
        time.sleep(self.seconds * share)

    def read_checkpoint(self, path, share):
        if self.checks_checkpoint:
            open(path, 'rb').close()
        self.spend('load', share)

    def reach(self, moment):
        if moment == 'importing':
            self.strike('import')
            if self.fault == 'touch-cuda':
                import torch
                torch.cuda.init()
            if self.fault == 'thread':
                threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
        if moment == 'loading-t5':
            self.strike('load')
            if self.fault == 'exit':
                os._exit(3)

    def strike(self, where):
        if self.fault == f'crash-{where}':
            raise RuntimeError('a fault of the simulation')
        while self.fault == f'hang-{where}':
            time.sleep(3600)


def weights():
    """As many bytes as are to be held in memory, all of them written. As those of PyTorch they are in
    huge pages if THP_MEM_ALLOC_ENABLE asks for it."""
    size = int(os.environ.get('SIM_WEIGHTS_MB') or 0) << 20
    if size == 0:
        return None
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if os.environ.get('THP_MEM_ALLOC_ENABLE') == '1':
        memory.madvise(mmap.MADV_HUGEPAGE)
    for _ in range(0, size, 1 << 20):
        memory.write(b'\1' * (1 << 20))
    return memory


run = Loading()
