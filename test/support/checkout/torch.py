"""As much of torch as the launcher takes hold of: the memory of a GPU, and how weights are loaded."""

__version__ = '2.8.0'
calls = []
float16, bfloat16 = 'float16', 'bfloat16'


class cuda:
    is_used = False

    @staticmethod
    def is_initialized():
        return cuda.is_used

    @staticmethod
    def max_memory_allocated():
        assert cuda.is_used, 'asked before CUDA was in use'
        return 20_000_000_000

    @staticmethod
    def max_memory_reserved():
        assert cuda.is_used, 'asked before CUDA was in use'
        return 22_900_000_000

    @staticmethod
    def synchronize():
        pass


class Tensor:
    def __init__(self, *shape, dtype=bfloat16, device='cpu'):
        self.shape, self.dtype, self.is_meta = shape, dtype, device == 'meta'

    def stride(self):
        return self.shape[1:] + (1,)


def load(path, map_location=None, mmap=False):
    calls.append(f'{"map" if mmap else "read"} {path}')
    return {'weight': Tensor(2, 3)}


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
            calls.append('assign' if assign else 'copy')
            assert set(state_dict) == set(self._parameters)
            if assign:
                self._parameters.update(state_dict)
            return '<All keys matched successfully>'


class overrides:

    class TorchFunctionMode:

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass
