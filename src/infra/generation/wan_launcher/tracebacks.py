"""The traceback of a script that fails, as it would be without us."""

import os
import sys

OURS = os.path.dirname(__file__)


def run_code(code, module):
    exec(code, module.__dict__)


def hide_launcher():
    """An exception that is on its way out of the script shall look as it would without us."""
    show = sys.excepthook

    def excepthook(kind, error, traceback):
        try:
            forget_launcher(error)
            traceback = error.__traceback__
        except Exception:
            pass
        show(kind, error, traceback)

    sys.excepthook = excepthook


def forget_launcher(error):
    """Takes our frames out of its traceback, and of those of all that it followed from."""
    left, seen = [error], set()
    while left:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        error.__traceback__ = without_launcher(error.__traceback__)
        left += [error.__cause__, error.__context__]


def without_launcher(traceback):
    kept = []
    while traceback:
        code = traceback.tb_frame.f_code
        if code is run_code.__code__:
            kept.clear()  # and whatever has called it
        elif os.path.dirname(code.co_filename) == OURS:
            # Python leaves out the frames of an import, but not where ours is among them.
            while kept and kept[-1].tb_frame.f_code.co_filename.startswith('<frozen importlib'):
                kept.pop()
        else:
            kept.append(traceback)
        traceback = traceback.tb_next
    for one, following in zip(kept, [*kept[1:], None]):
        one.tb_next = following
    return kept[0] if kept else None
