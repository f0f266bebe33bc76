"""Importing and loading as on a machine with a GPU, without asking its driver."""

import contextlib


@contextlib.contextmanager
def without_cuda(torch):
    """Wan2.2 asks for the current device while it is imported (wan/modules/t5.py): with one GPU in
    sight, as each generation has, it is 0. Libraries ask whether there is CUDA, to choose their code."""
    stand_ins = {'current_device': lambda: 0, 'is_available': lambda: True}
    real = {name: getattr(torch.cuda, name) for name in stand_ins}
    for name, stand_in in stand_ins.items():
        setattr(torch.cuda, name, stand_in)
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(torch.cuda, name, function)
