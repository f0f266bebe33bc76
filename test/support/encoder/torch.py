"""As much of PyTorch as embeddings are made with: matrices of two-byte numbers, and where they are."""
import os

__version__ = os.environ.get('TORCH', '2.13.0')
bfloat16, uint8, int64 = 'torch.bfloat16', 'torch.uint8', 'torch.int64'


class device:

    def __init__(self, name):
        self.name = getattr(name, 'name', name)
        self.type = self.name.partition(':')[0]


class Tensor:

    def __init__(self, numbers, dtype, shape, where):
        self.numbers, self.dtype, self.shape, self.where = bytes(numbers), dtype, shape, where

    def dim(self):
        return len(self.shape)

    def detach(self):
        return self

    contiguous = numpy = detach

    def view(self, dtype):
        return Tensor(self.numbers, dtype, self.shape, self.where)

    def tobytes(self):
        return self.numbers

    def reshape(self, *shape):
        return Tensor(self.numbers, self.dtype, shape, self.where)

    def to(self, where):
        return Tensor(self.numbers, self.dtype, self.shape, device(where).name)

    def cpu(self):
        return self.to('cpu')


def frombuffer(numbers, dtype):
    return Tensor(numbers, dtype, (len(numbers) // 2,), 'cpu')


class cuda:

    @staticmethod
    def get_device_name(_):
        return os.environ.get('GPU', 'NVIDIA H200')


class nn:

    class Module:
        where = 'cpu'

        def __init__(self):
            self.did, self.hooks = [], []

        def to(self, where):
            self.where = device(where).name
            self.did.append(f'to {self.where}')
            return self

        def cpu(self):
            return self.to('cpu')

        def register_forward_pre_hook(self, hook):
            self.hooks.append(hook)

        def __call__(self, *args):
            for hook in self.hooks:
                hook(self, args)
            return self.forward(*args)
