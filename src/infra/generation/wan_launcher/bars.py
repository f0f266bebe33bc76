"""The bar of a generation, which says how many steps are done."""

from .wrapping import class_of


def hook_bar(module, journal):
    module.tqdm = watched(class_of(module, 'tqdm'), journal)


def watched(original, journal):
    """tqdm itself in every respect, which also tells the steps that are done."""

    class Bar(original):
        def __init__(self, *args, **kwargs):
            original.__init__(self, *args, **kwargs)
            self._told_steps = 0
            journal.tell('sampling', total=self.total or 0)

        def __iter__(self):
            items = original.__iter__(self)
            done = 0
            try:
                for item in items:
                    yield item
                    done += 1
                    tell_step(self, done)
            finally:
                if hasattr(items, 'close'):
                    items.close()

        def update(self, n=1):
            result = original.update(self, n)
            tell_step(self, self.n)
            return result

    def tell_step(bar, done):
        if done > getattr(bar, '_told_steps', 0):
            bar._told_steps = done
            journal.tell('step', step=done, total=bar.total or 0)

    for name in ('__module__', '__name__', '__qualname__', '__doc__'):
        setattr(Bar, name, getattr(original, name))
    return Bar
