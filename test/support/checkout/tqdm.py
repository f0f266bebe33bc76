"""A bar that draws as tqdm does, without its clocks."""
import sys


class tqdm:
    monitor_interval = 10

    def __init__(self, iterable=None, total=None, initial=0, disable=False):
        if total is None and iterable is not None:
            try:
                total = len(iterable)
            except TypeError:
                total = None
        self.iterable, self.total, self.n, self.disable = iterable, total, initial, disable
        self.initial, self.closed = initial, False
        self.refresh()

    def __iter__(self):
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def __len__(self):
        return self.total if self.iterable is None else len(self.iterable)

    def __bool__(self):
        return bool(self.total)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def update(self, n=1):
        self.n += n
        self.refresh()
        return True

    def refresh(self):
        if not self.disable:
            sys.stderr.write(f'\r {self.n}/{self.total}')
            sys.stderr.flush()

    def close(self):
        if not self.disable and not self.closed:
            sys.stderr.write('\n')
        self.closed = True

    @classmethod
    def write(cls, text):
        sys.stderr.write(f'{text}\n')
