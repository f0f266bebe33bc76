"""Replacing functions and classes by ones that do the same and tell of it."""

from .memory import tell_memory


class Unexpected(Exception):
    """A checkout that is not as we know it."""


def class_of(module, name):
    found = getattr(module, name)
    if not isinstance(found, type):
        raise Unexpected(f'{name} is no class')
    return found


def function_of(owner, name):
    found = getattr(owner, name)
    if type(found) is not type(wrap):
        raise Unexpected(f'{name} is no function')
    return found


def wrap(owner, name, journal, before=None, after=None):
    setattr(owner, name, telling(function_of(owner, name), journal, before, after))


def telling(original, journal, before, after):
    """A function that does the same and tells when it begins and when it has returned."""

    def wrapper(*args, **kwargs):
        if before:
            journal.tell(before)
        result = original(*args, **kwargs)
        if after:
            journal.tell(after)
        if after == 'decoded':
            tell_memory(journal)
        return result

    return disguise(wrapper, original)


def disguise(wrapper, original):
    """Returns it with the names and the documentation of the original."""
    for name in ('__module__', '__name__', '__qualname__', '__doc__'):
        setattr(wrapper, name, getattr(original, name))
    wrapper.__dict__.update(original.__dict__)
    wrapper.__wrapped__ = original  # so that signatures stay what they are
    return wrapper
