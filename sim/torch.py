"""As much of torch as can be asked for without tensors."""
import ctypes
import os
import time

imported_by = os.getpid()
bfloat16 = 'bfloat16'
threads = os.cpu_count() or 1
seed = 67280421310721
__version__ = '2.8.0'


def device(name):
    return name


def get_num_threads():
    return threads


def set_num_threads(number):
    global threads
    threads = number


def initial_seed():
    return seed


def manual_seed(number):
    global seed
    seed = number


class ones:
    """Enough of a tensor to multiply two of them."""

    def __init__(self, shape, device):
        cuda.init()
        self.rows, self.columns = shape
        self.value = 1

    def __matmul__(self, other):
        self.value = self.columns
        return self

    def sum(self):
        return self.rows * self.columns * self.value


def driver():
    """SIM_LIBCUDA names a library that stands in for the driver's, and is loaded with torch."""
    path = os.environ.get('SIM_LIBCUDA')
    return ctypes.CDLL(path) if path else None


libcuda = driver()


class Tensor:
    """Of any shape; what counts is whether it has numbers."""
    shape, dtype = (1,), bfloat16

    def __init__(self, device='cpu'):
        self.is_meta = device == 'meta'

    def stride(self):
        return (1,)


class File(dict):
    """The weights in a file, and whether they are read when they are loaded or when they are used."""

    def __init__(self, path, is_mapped):
        super().__init__(weight=Tensor())
        self.path, self.is_mapped = path, is_mapped


def load(path, map_location=None, mmap=False):
    return File(path, mmap)


class nn:

    class Module:

        def __init__(self):
            self._parameters, self._buffers = {}, {}

        def modules(self):
            return [self]

        def eval(self):
            return self

        def requires_grad_(self, wanted):
            return self

        def state_dict(self):
            return dict(self._parameters)

        def load_state_dict(self, state_dict, strict=True, assign=False):
            if assign:
                self._parameters.update(state_dict)


class overrides:

    class TorchFunctionMode:

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass


def fork_fault():
    fault, _, device = os.environ.get('SIM_FORK_FAULT', '').partition(':')
    return fault if device in ('', os.environ.get('CUDA_VISIBLE_DEVICES')) else None


class cuda:
    reserved = 0
    used_by = None

    @classmethod
    def init(cls):
        """A fork of a process that has used CUDA cannot use it. With SIM_FORK_FAULT no fork can."""
        fault = fork_fault() if os.getpid() != imported_by else None
        if cls.used_by not in (None, os.getpid()) or fault == 'cuda':
            raise RuntimeError(
                'Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, '
                "you must use the 'spawn' start method")
        if fault == 'oom':
            raise RuntimeError('CUDA error: out of memory')
        while fault == 'hang':
            time.sleep(3600)
        if cls.used_by is None and libcuda:
            libcuda.cuInit(0)
        cls.used_by = os.getpid()

    @classmethod
    def current_device(cls):
        if libcuda:
            cls.init()
        return 0

    @classmethod
    def is_available(cls):
        if libcuda:
            libcuda.cuDriverGetVersion(None)
        return True

    @classmethod
    def use(cls, frames):
        """About what a 5B takes on a 24 GB card, where 121 frames are the most that fit."""
        cls.init()
        cls.reserved = 14_000_000_000 + 73_000_000 * frames

    @classmethod
    def is_initialized(cls):
        return cls.reserved > 0 or cls.used_by is not None

    @classmethod
    def max_memory_allocated(cls):
        return max(0, cls.reserved - 1_000_000_000)

    @classmethod
    def max_memory_reserved(cls):
        return cls.reserved
