"""Bars as tqdm draws them."""
import os
import sys
import time


class tqdm:
    """Draws as tqdm does through a pipe: ten cells, `\\r` before every state and `\\n` only after
    the last, at most one state per tenth of a second, the unit flipped below one step a second.
    The environment variables are tqdm's own; like there, TQDM_ASCII=1 ends the run."""

    is_hidden = False
    cells = 10

    def __init__(self, iterable=None, total=None, desc=''):
        self.iterable, self.desc = iterable, desc and f'{desc}: '
        self.total = len(iterable) if total is None else total
        self.disable = self.is_hidden or bool(os.environ.get('TQDM_DISABLE'))
        self.min_interval = float(os.environ.get('TQDM_MININTERVAL') or 0.1)
        self.charset = os.environ.get('TQDM_ASCII') or ' ▏▎▍▌▋▊▉█'
        self.n = self.drawn = self.drawn_length = 0
        self.smooth_steps = self.smooth_seconds = 0.0
        self.begun_at = self.drawn_at = time.monotonic()
        self._draw(None)

    def __iter__(self):
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Repeats the last state, with the rate of the whole, also when an exception ends it."""
        self._draw(self.n / (time.monotonic() - self.begun_at))
        self._write('\n')

    def update(self, n=1):
        self.n += n
        now = time.monotonic()
        if now - self.drawn_at < self.min_interval:
            return
        self.smooth_steps = 0.3 * (self.n - self.drawn) + 0.7 * self.smooth_steps
        self.smooth_seconds = 0.3 * (now - self.drawn_at) + 0.7 * self.smooth_seconds
        self.drawn, self.drawn_at = self.n, now
        self._draw(self.smooth_steps / self.smooth_seconds)

    def _draw(self, rate):
        elapsed = time.monotonic() - self.begun_at
        left = clock((self.total - self.n) / rate) if rate else '?'
        state = (f'{self.desc}{self.n / self.total:4.0%}|{self._cells()}| '
                 f'{self.n}/{self.total} [{clock(elapsed)}<{left}, {rate_text(rate)}]')
        self._write('\r' + state.ljust(self.drawn_length))
        self.drawn_length = len(state)

    def _cells(self):
        levels = len(self.charset) - 1
        full, part = divmod(int(self.n / self.total * self.cells * levels), levels)
        if full == self.cells:
            return self.charset[-1] * full
        cells = self.charset[-1] * full + self.charset[part]
        return cells.ljust(self.cells, self.charset[0])

    def _write(self, text):
        if not self.disable:
            sys.stderr.write(text)
            sys.stderr.flush()


def clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes:02}:{seconds:02}'


def rate_text(rate):
    if not rate:
        return '?it/s'
    return f'{1 / rate:5.2f}s/it' if rate < 1 else f'{rate:5.2f}it/s'
