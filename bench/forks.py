"""From an order to the first line of a fork: what huge pages save, and what forking ahead would.

    python3 bench/forks.py [GIB]

A process holds 0 and GIB (4) of private memory, and is forked three times, one fork below the other, as a template forks the
process in between, the shim and the generation. `ahead`: the forks were there before the order, and wait for a line
of a pipe. The ways take turns. Prints a table.
"""

import gc
import mmap
import os
import statistics
import sys
import time

FORKS = 3
TURNS = 15


def main(gib='4'):
    print('| private memory | fork on order, p50 | slowest | forked ahead, p50 | slowest | one fork and its end |')
    print('| --- | ---: | ---: | ---: | ---: | ---: |')
    for size, pages in ((0, 'small'), (float(gib), 'small'), (float(gib), 'huge')):
        memory = hold(int(size * 2**30), pages)
        gc.collect()
        gc.freeze()
        found = {'ordered': [], 'ahead': [], 'one': []}
        for _ in range(TURNS):
            found['ordered'].append(ordered())
            found['ahead'].append(ahead())
            found['one'].append(one())
        cells = [f'{size:.0f} GiB in {pages} pages' if size else 'next to none']
        for way in ('ordered', 'ahead'):
            cells += [ms(statistics.median(found[way])), ms(max(found[way]))]
        print('| ' + ' | '.join([*cells, ms(statistics.median(found['one']))]) + ' |', flush=True)
        del memory


def hold(size, pages):
    """As a library does it that writes what it has allocated."""
    if not size:
        return None
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if pages == 'huge':
        memory.madvise(mmap.MADV_HUGEPAGE)
    part = b'\1' * 2**24
    while memory.tell() < size:
        memory.write(part[: size - memory.tell()])
    return memory


def ordered():
    lines, told = os.pipe()
    began = time.monotonic()
    first = fork_below(FORKS, lambda: os.write(told, b'!'))
    return first_line(lines, told, began, first)


def ahead():
    lines, told = os.pipe()
    orders, order = os.pipe()
    ready, waits = os.pipe()

    def wait_and_tell():
        os.write(waits, b'!')
        os.read(orders, 1)
        os.write(told, b'!')

    first = fork_below(FORKS, wait_and_tell)
    os.read(ready, 1)
    began = time.monotonic()
    os.write(order, b'!')
    took = first_line(lines, told, began, first)
    for fd in (orders, order, ready, waits):
        os.close(fd)
    return took


def first_line(lines, told, began, first):
    os.read(lines, 1)
    took = time.monotonic() - began
    os.waitpid(first, 0)
    os.close(lines)
    os.close(told)
    return took


def one():
    began = time.monotonic()
    os.waitpid(fork_below(1, lambda: None), 0)
    return time.monotonic() - began


def fork_below(forks, run):
    """Each waits for the one below it."""
    pid = os.fork()
    if pid:
        return pid
    if forks > 1:
        os.waitpid(fork_below(forks - 1, run), 0)
    else:
        run()
    os._exit(0)


def ms(seconds):
    return f'{seconds * 1000:.1f} ms'


if __name__ == '__main__':
    main(*sys.argv[1:])
