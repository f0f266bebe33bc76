"""Getting hold of the modules of a checkout when they have just been imported."""

import sys


class ImportWatch:
    """Calls a hook when its module has just been imported, by whomever and whenever."""

    def __init__(self, journal, hooks):
        self.journal = journal
        self.hooks = hooks
        self.missed = set(hooks)

    def find_spec(self, name, path=None, target=None):
        if name not in self.hooks:
            return None
        try:
            for finder in sys.meta_path:
                spec = finder is not self and finder.find_spec(name, path, target)
                if spec:
                    self.follow(spec.loader, name)
                    return spec
        except Exception as error:
            self.journal.tell('fallback', part='progress', why=f'{name}: {error}')
        return None

    def follow(self, loader, name):
        """A loader is made for one import, and its exec_module is its own again after that."""
        execute = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            execute(module)
            self.missed.discard(name)
            for hook in self.hooks[name]:
                try:
                    hook(module, self.journal)
                except Exception as error:
                    self.journal.tell('fallback', part='progress', why=f'{name}: {error}')
            if name == 'wan':
                self.end()

        loader.exec_module = exec_module

    def end(self):
        """The whole of Wan2.2 has been imported, but for what only another task needs."""
        self.journal.tell('imported')
        if self.missed:
            self.journal.tell('fallback', part='progress', why=f'not imported: {", ".join(sorted(self.missed))}')
