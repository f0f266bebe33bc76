"""As much of torch as can be asked for the memory of a GPU."""
import os


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


float16, bfloat16 = 'float16', 'bfloat16'
