"""As much of torch as the probe of gpu-check asks for. A process that uses CUDA leaves a file in PROBE_GPU, named by its
pid: nvidia-smi beside this counts those whose process lives.

PROBE_FAULT=touch: importing uses CUDA. PROBE_FAULT=fork: a fork cannot use it.
"""
import os

imported_by = os.getpid()
__version__ = '2.8.0'


class Tensor:
    def __init__(self, shape, value):
        self.shape = shape
        self.value = value

    def to(self, device):
        cuda.start()
        return self

    def __matmul__(self, other):
        return Tensor(self.shape, self.value * other.value * self.shape[-1])

    def clamp(self, low, high):
        return Tensor(self.shape, min(max(self.value, low), high))

    def sum(self):
        return self.value * self.shape[0] * self.shape[-1]


class cuda:
    used_by = None

    @classmethod
    def start(cls):
        if os.environ.get('PROBE_FAULT') == 'fork' and os.getpid() != imported_by:
            raise RuntimeError('Cannot re-initialize CUDA in forked subprocess.')
        if cls.used_by != os.getpid():
            cls.used_by = os.getpid()
            open(os.path.join(os.environ['PROBE_GPU'], str(os.getpid())), 'w').close()

    @classmethod
    def is_initialized(cls):
        return cls.used_by is not None

    @classmethod
    def synchronize(cls):
        cls.start()


def filled(value):
    def make(*shape, device='cpu'):
        if device == 'cuda':
            cuda.start()
        return Tensor(shape, value)

    return make


ones, zeros = filled(1), filled(0)


def set_num_threads(number):
    pass


def save(content, path):
    open(path, 'w').close()


def load(path, mmap):
    assert mmap and os.path.exists(path)
    return {'weights': ones(1)}


if os.environ.get('PROBE_FAULT') == 'touch':
    cuda.start()
