"""Files in the directory of an attempt, which is the current one: how they are written, and how much
room a worker may take with its own."""

import json
import os

MAX_WORK_BYTES = 8 * 1024**3  # a hundred times the largest video
MAX_WORK_FILES = 10_000

# A worker that has written as much as LARGE_BYTES, its output and a video not counted, is stopped
# rather than the disk filled to the last byte, for the database and other generations need some.
LARGE_BYTES = 128 * 1024**2
LOW_BYTES = 512 * 1024**2


def trouble():
    """Reason why the worker must be stopped, if there is one."""
    try:
        if os.stat('.').st_nlink == 0:
            return 'directory_removed'
        used, files = usage('.')
        room = os.statvfs('.')
    except OSError:
        return None
    if used > MAX_WORK_BYTES or files > MAX_WORK_FILES:
        return 'too_many_files'
    if used > LARGE_BYTES and room.f_bavail * room.f_frsize < LOW_BYTES:
        return 'no_room'
    return None


def usage(top):
    """Bytes on disk and number of files, up to the first that is too much."""
    used, files, left = 0, 0, []
    with os.scandir(top) as entries:
        left.extend(entries)
    while left and files <= MAX_WORK_FILES:
        entry = left.pop()
        files += 1
        try:
            used += entry.stat(follow_symlinks=False).st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                with os.scandir(entry.path) as entries:
                    left.extend(entries)
        except OSError:
            pass  # it was removed meanwhile, or is not readable
    return used, files


def write_json(name, content, durable=False):
    """A reader sees all of it or nothing. Durable: so it does after a power cut. The worker can write
    in this directory, too: what it put there, a FIFO that would hold us up for ever, is replaced."""
    unfinished = f'{name}.tmp'
    try:
        os.unlink(unfinished)
    except FileNotFoundError:
        pass
    with open(unfinished, 'xb') as file:
        file.write(json.dumps(content).encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.rename(unfinished, name)
    if durable:
        directory = os.open('.', os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
