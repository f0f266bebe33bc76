"""What a template holds: results of the constructors that read weights.

Each is found by a name and by arguments. With other arguments, or a second time, the constructor
itself is called: a pipeline may do what it likes to the models that it was given.
"""

import inspect

from wan_launcher.wrapping import Unexpected, class_of


class Held:
    def __init__(self):
        self.is_loading = True
        self.known = []  # names of the constructors that were found
        self.results = {}  # by name: pairs of arguments and result

    def hooks(self):
        """By module. They come before those of the launcher, which so tell of what is held, too."""
        return {
            'wan.modules.t5': self.hold_text_encoder,
            'wan.modules.model': self.hold_dit,
        }

    def hold_text_encoder(self, module, journal):
        encoder = class_of(module, 'T5EncoderModel')
        construct = encoder.__init__
        signature = inspect.signature(construct)

        def __init__(self_, *args, **kwargs):
            given = arguments_of(signature, None, *args, **kwargs)
            held = self.find('text encoder', given)
            if held is not None:
                self_.__dict__.update(held.__dict__)
                journal.tell('text_encoder_built')
                return
            construct(self_, *args, **kwargs)
            self.keep('text encoder', given, self_)

        encoder.__init__ = like(construct, __init__)
        self.known.append('text encoder')

    def hold_dit(self, module, journal):
        model = class_of(module, 'WanModel')
        bound = model.from_pretrained
        if not inspect.ismethod(bound) or bound.__self__ is not model:
            raise Unexpected('from_pretrained is no class method')
        construct = bound.__func__
        signature = inspect.signature(construct)

        def from_pretrained(cls, *args, **kwargs):
            given = arguments_of(signature, None, *args, **kwargs)
            held = self.find('dit', given) if cls is model else None
            if held is None:
                held = construct(cls, *args, **kwargs)
                if cls is model:
                    self.keep('dit', given, held)
            return held

        model.from_pretrained = classmethod(like(construct, from_pretrained))
        self.known.append('dit')

    def keep(self, name, given, result):
        if self.is_loading and given is not None:
            self.results.setdefault(name, []).append((given, result))

    def find(self, name, given):
        if self.is_loading or given is None:
            return None
        held = self.results.get(name, [])
        for at, (known, result) in enumerate(held):
            if is_same(known, given):
                del held[at]
                return result
        return None


def arguments_of(signature, *args, **kwargs):
    """With defaults, so that it does not matter how they were passed. None if they do not fit."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    return bound.arguments


def is_same(one, other):
    try:
        return bool(one == other)
    except Exception:
        return False  # tensors, for example


def like(original, wrapper):
    for name in ('__module__', '__name__', '__qualname__', '__doc__'):
        setattr(wrapper, name, getattr(original, name))
    wrapper.__wrapped__ = original
    return wrapper
