"""Whether a child that is forked from a process with PyTorch and weights gets a CUDA of its own, and what that costs.

    CUDA_VISIBLE_DEVICES=ID PYTHON bench/gpu/probe.py ID [GIB]

Needs PyTorch with CUDA and `nvidia-smi`, nothing of Wan2.2. ID is the GPU as both number it (CUDA_DEVICE_ORDER is
PCI_BUS_ID). Prints one JSON object per line: {"step", ...figures}, or {"step", "error"}. Each step works without the
others.

This process is as a template of the service is: it has imported PyTorch, holds GIB of weights that are mapped from a
file and GIB that are private, and never touches CUDA.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'PYTORCH_NVML_BASED_CUDA_CHECK'):
    os.environ[name] = '1'  # as wan_template/building.py does: no thread, and no question to the driver

FORKS = 3
CHILD_S = 60  # starting CUDA takes 0.3 to 3 s, more while drivers load
FREED_S = 10
SLACK_MIB = 64  # nvidia-smi and other programs on the GPU


def main(gpu, gib='2'):
    began = time.monotonic()
    import torch

    torch.set_num_threads(1)
    imported = time.monotonic() - began
    with tempfile.TemporaryDirectory() as directory:
        weights = Weights(torch, directory, float(gib))
        probe = Probe(torch, int(gpu), weights)
        report('template', lambda: {'import_s': imported, **probe.untouched()})
        report('forks', probe.forks)
        report('kill', probe.kill)
        report('standby', probe.standby)
        report('template after all', probe.untouched)


def report(step, run):
    try:
        said = run()
    except Exception as error:
        said = {'error': f'{type(error).__name__}: {error}'[:1000]}
    print(json.dumps({'step': step, **said}), flush=True)


class Weights:
    def __init__(self, torch, directory, gib):
        file = os.path.join(directory, 'weights.pt')
        numbers = int(gib * (1 << 28))
        self.gb = numbers * 4 / 1e9
        self.private = torch.ones(numbers)
        torch.save({'weights': self.private}, file)
        self.mapped = torch.load(file, mmap=True)['weights']


class Probe:
    def __init__(self, torch, gpu, weights):
        self.torch = torch
        self.gpu = gpu
        self.weights = weights

    def untouched(self):
        """Fails if this process has touched CUDA, or has threads, which no fork of it would have."""
        opened = [path for path in open_files() if path.startswith('/dev/nvidia')]
        threads = len(os.listdir('/proc/self/task'))
        if self.torch.cuda.is_initialized() or opened:
            raise RuntimeError(f'the template has touched CUDA: {", ".join(opened) or "it is initialised"}')
        if threads > 1:
            raise RuntimeError(f'the template has {threads} threads; a fork of it has one')
        return {'threads': threads, 'gpu_mib': self.used()}

    def forks(self):
        before = self.used()
        made = []
        for _ in range(FORKS):
            child = Child(self.use_gpu)
            made.append({'fork_s': child.fork_s, **child.hear(), **child.wait()})
        return {'forks': made, 'gpu_mib': before, **self.freed(before)}

    def use_gpu(self, tell):
        torch = self.torch

        def timed(run):
            began = time.monotonic()
            run()
            torch.cuda.synchronize()
            return time.monotonic() - began

        context = timed(lambda: torch.zeros(1, device='cuda'))
        ones = torch.ones(2048, 2048, device='cuda')
        product = timed(lambda: ones @ ones)
        total = float((ones @ ones).sum())
        if total != 2048.0**3:
            raise ArithmeticError(f'the product of two matrices has the sum {total} instead of {2048.0**3}')
        gb = self.weights.gb
        copies = {
            f'{name}_gb_s': gb / timed(lambda: weights.to('cuda'))
            for name, weights in (('mapped', self.weights.mapped), ('private', self.weights.private))
        }
        tell({'context_s': context, 'product_s': product, **copies, 'gpu_mib_in_use': self.used()})

    def kill(self):
        before = self.used()
        child = Child(self.compute)
        child.hear()
        computing = self.used()
        began = time.monotonic()
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        return {
            'reaped_s': time.monotonic() - began, 'gpu_mib_computing': computing, 'gpu_mib': before,
            **self.freed(before),
        }

    def compute(self, tell):
        numbers = self.torch.ones(8192, 8192, device='cuda')
        for step in range(1 << 30):
            numbers = (numbers @ numbers).clamp(-1, 1)
            if step == 20:  # the GPU is at work, and more of it is queued
                tell({})

    def standby(self):
        before = self.used()
        child = Child(self.start_cuda)
        child.hear()
        costs = self.used() - before
        child.let_go()
        return {'costs_mib': costs, **child.wait(), **self.freed(before)}

    def start_cuda(self, tell):
        self.torch.zeros(1, device='cuda')
        self.torch.cuda.synchronize()
        tell({})
        os.read(0, 1)

    def freed(self, before):
        """Fails if the memory of the GPU is not what it was."""
        began = time.monotonic()
        while self.used() > before + SLACK_MIB:
            if time.monotonic() - began > FREED_S:
                raise RuntimeError(f'{self.used()} MiB of the GPU are in use after {FREED_S} s; before it were {before}')
            time.sleep(0.02)
        return {'freed_s': time.monotonic() - began}

    def used(self):
        query = ['nvidia-smi', f'--id={self.gpu}', '--query-gpu=memory.used', '--format=csv,noheader,nounits']
        return int(subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout.split()[0])


class Child:
    """A fork of this process that does `work`, and tells what it has found."""

    def __init__(self, work):
        self.results, given = os.pipe()
        waits, self.leave = os.pipe()
        began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(waits, 0)
            for fd in (self.results, self.leave):
                os.close(fd)
            run(work, given)
        self.fork_s = time.monotonic() - began
        os.close(given)
        os.close(waits)

    def hear(self):
        """Waits for what it tells."""
        ready, _, _ = select.select([self.results], [], [], CHILD_S)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
        said = os.read(self.results, 64 * 1024) if ready else b''
        if not said:
            os.waitpid(self.pid, 0)
            raise RuntimeError('the child ended without a word' if ready else f'the child told nothing for {CHILD_S} s')
        told = json.loads(said)
        if 'error' in told:
            os.waitpid(self.pid, 0)
            raise RuntimeError(told['error'])
        return told

    def let_go(self):
        os.close(self.leave)

    def wait(self):
        began = time.monotonic()
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            raise RuntimeError(f'the child ended with status {code}')
        return {'end_s': time.monotonic() - began}


def run(work, results):
    status = 1
    try:
        work(lambda said: os.write(results, json.dumps(said).encode()))
        status = 0
    except BaseException as error:
        os.write(results, json.dumps({'error': f'{type(error).__name__}: {error}'[:1000]}).encode())
    finally:
        os._exit(status)


def open_files():
    for name in os.listdir('/proc/self/fd'):
        try:
            yield os.readlink(f'/proc/self/fd/{name}')
        except OSError:
            pass  # that of the listing itself


if __name__ == '__main__':
    main(*sys.argv[1:])
