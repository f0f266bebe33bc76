"""The text encoder, mapped from its file.

The script makes it with random numbers, reads its file into memory, and copies one over the other:
about a minute, and twice its size. Here it is made without numbers (on PyTorch's device "meta"), and
gets the tensors of the file as the kernel maps them. They are the same bits. Whatever is not exactly
as it is known to be is left to the script, and a fallback says why.

The file is read when a weight is first used. It must not be overwritten meanwhile.
"""

import types

from .wrapping import Unexpected, class_of, disguise, function_of

PART = 'fast_load'


def hook_fast_load(module, journal):
    """Tells of its own, so that the service knows which part has fallen back."""
    try:
        loading = Loading(module, journal)
        encoder = class_of(module, 'T5EncoderModel')
        build, init = function_of(module, 'umt5_xxl'), function_of(encoder, '__init__')
        module.umt5_xxl = disguise(loading.build_by(build), build)
        encoder.__init__ = disguise(loading.init_by(init), init)
    except Exception as error:
        journal.tell_fallback(PART, error)


class Loading:
    """Loading of one text encoder at a time."""

    def __init__(self, module, journal):
        self.module = module
        self.torch = module.torch
        self.journal = journal
        self.checkpoint = None  # of the encoder that is being made
        for function, option in (
            (self.torch.load, 'mmap'),
            (self.torch.nn.Module.load_state_dict, 'assign'),
        ):
            if option not in parameters_of(function):
                raise Unexpected(f'PyTorch {self.torch.__version__} cannot {option}; it needs 2.1')

    def init_by(self, original):
        def __init__(encoder, *args, **kwargs):
            self.checkpoint = kwargs.get('checkpoint_path')
            try:
                return original(encoder, *args, **kwargs)
            finally:
                self.checkpoint = None
                self.module.torch = self.torch

        return __init__

    def build_by(self, original):
        def umt5_xxl(*args, **kwargs):
            try:
                return self.build(original, args, kwargs)
            except Exception as error:
                self.module.torch = self.torch
                self.journal.tell_fallback(PART, error)
            return original(*args, **kwargs)

        return umt5_xxl

    def build(self, original, args, kwargs):
        if not isinstance(self.checkpoint, str):
            raise Unexpected('the encoder is made without a checkpoint_path')
        is_known = kwargs.get('encoder_only') is True and not kwargs.get('return_tokenizer', False)
        if args or not is_known or str(kwargs.get('device')) != 'cpu':
            raise Unexpected('umt5_xxl is called with other arguments')
        weights = self.torch.load(self.checkpoint, map_location='cpu', mmap=True)
        with without_numbers(self.torch):
            model = original(**{**kwargs, 'device': 'meta'})
        refuse_difference(model, weights)
        all_match = model.load_state_dict(weights, assign=True)
        refuse_unfilled(model, self.torch.Tensor)
        self.skip_second_load(model, weights, all_match)
        return model

    def skip_second_load(self, model, weights, all_match):
        """What the script does next: it reads the file, and copies it into the model."""
        torch, checkpoint = self.torch, self.checkpoint

        def load(*args, **kwargs):
            is_same = args == (checkpoint,) and kwargs == {'map_location': 'cpu'}
            return weights if is_same else torch.load(*args, **kwargs)

        def load_state_dict(*args, **kwargs):
            del model.load_state_dict
            if len(args) == 1 and args[0] is weights and not kwargs:
                return all_match
            return model.load_state_dict(*args, **kwargs)

        model.load_state_dict = load_state_dict
        self.module.torch = Overlay(torch, load=load)


class Overlay(types.ModuleType):
    """A module with some names replaced, for one module that uses it."""

    def __init__(self, module, **replaced):
        types.ModuleType.__init__(self, module.__name__, module.__doc__)
        self.__dict__.update(replaced)
        self.__dict__['__getattr__'] = lambda name: getattr(module, name)


# On the device "meta" these do nothing, but PyTorch imports its compiler for them: two seconds.
RANDOM_FILLS = ('normal_', 'uniform_', 'trunc_normal_', 'kaiming_uniform_', 'xavier_uniform_')


def without_numbers(torch):
    class WithoutNumbers(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if getattr(function, '__name__', None) in RANDOM_FILLS:
                tensor = args[0] if args else kwargs.get('tensor')
                if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                    return tensor
            return function(*args, **kwargs)

    return WithoutNumbers()


def parameters_of(function):
    while hasattr(function, '__wrapped__'):
        function = function.__wrapped__
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def refuse_difference(model, weights):
    wanted = model.state_dict()
    if set(weights) != set(wanted):
        names = sorted(set(weights) ^ set(wanted))
        raise Unexpected(f'the file has other weights: {", ".join(names[:3])}')
    for name, tensor in wanted.items():
        given = weights[name]
        if (given.shape, given.dtype, given.stride()) != (
            tensor.shape, tensor.dtype, tensor.stride()):
            raise Unexpected(
                f'{name} is {tuple(given.shape)} {given.dtype} in the file,'
                f' and {tuple(tensor.shape)} {tensor.dtype} in the model')


def refuse_unfilled(model, tensor_type):
    """Tensors that are in no file, such as buffers that are computed, would be without numbers."""
    for part in model.modules():
        for value in (*vars(part).values(), *part._parameters.values(), *part._buffers.values()):
            if isinstance(value, tensor_type) and value.is_meta:
                raise Unexpected(f'{type(part).__name__} has tensors that are not in the file')
