"""Changes modules of Wan2.2 right after their execution, before anybody else sees them.

The launcher of the service does the same and comes later: to it, a changed module is how the checkout is.
"""
import sys
from importlib.machinery import PathFinder

from . import changes


def begin():
    sys.meta_path.insert(0, Watch())


class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == 'wan':
            changes.prepare()
        change = changes.by_module.get(name)
        # Not by the other finders: the launcher's asks all others in turn, and so would call this one again.
        spec = change and PathFinder.find_spec(name, path, target)
        if spec:
            follow(spec.loader, change)
        return spec


def follow(loader, change):
    execute = loader.exec_module

    def exec_module(module):
        # The launcher has deleted it already, if it runs.
        vars(loader).pop('exec_module', None)
        execute(module)
        change(module)

    loader.exec_module = exec_module
