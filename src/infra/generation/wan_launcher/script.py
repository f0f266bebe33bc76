"""Running a script as Python itself would run it."""

import os
import sys

from .memory import tell_memory
from .negative_prompt import refuse_unless_set
from .tracebacks import hide_launcher, run_code


def compile_script(path):
    """Its absolute path, and its code."""
    path = os.path.join(os.getcwd(), path)
    with open(path, 'rb') as file:
        return path, compile(file.read(), path, 'exec', dont_inherit=True)


def become(path, command, interpreter):
    """Returns a module for it like the one that Python makes for a script, which is `__main__` from
    now on. `command` is the script with its arguments, `interpreter` what comes before it."""
    module = type(sys)('__main__')
    ours = sys.modules['__main__']
    module.__file__ = path
    module.__cached__ = None
    module.__builtins__ = ours.__builtins__
    module.__loader__ = type(ours.__loader__)('__main__', path)
    if '__annotations__' in ours.__dict__:
        module.__annotations__ = {}
    sys.argv[:] = command
    if hasattr(sys, 'orig_argv'):
        sys.orig_argv = [*interpreter, *command]
    sys.modules['__main__'] = module
    if not getattr(sys.flags, 'safe_path', False):
        sys.path[0] = os.path.dirname(os.path.realpath(command[0]))
    return module


def run(code, module, journal):
    try:
        run_code(code, module)
    except BaseException:
        hide_launcher()
        raise
    else:
        refuse_unless_set()
    finally:
        tell_memory(journal)
