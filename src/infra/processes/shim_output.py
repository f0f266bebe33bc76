"""Output of a worker: read from pipes, kept in files of bounded size.

A worker may print without end. A file that would exceed MAX_BYTES is cut to its first HEAD_BYTES, a
line that says how much is left out, and its last TAIL_BYTES; then it grows again. A reader that finds
a file shorter than before continues at HEAD_BYTES (output-follower.ts).

The pipes are read even while the disk is full, so that no worker waits for room.
"""

import fcntl
import os

HEAD_BYTES = 16 * 1024 * 1024
MAX_BYTES = 32 * 1024 * 1024
TAIL_BYTES = 1024 * 1024

READ_BYTES = 256 * 1024
PIPE_BYTES = 1024 * 1024
F_SETPIPE_SZ = 1031  # from <linux/fcntl.h>: Python names it since 3.10


class Output:
    """One stream of a worker."""

    def __init__(self, events, name):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.file = os.open(name, flags, 0o644)
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        try:
            fcntl.fcntl(self.reader, F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # this user may have no larger pipes
        self.received = 0
        self.unwritten = 0
        self.events = events
        events.add(self.reader, self.hear)

    def hand_over(self):
        """Closes the end that the worker has by now: the stream ends with its last holder."""
        os.close(self.writer)

    def hear(self, fd):
        """Returns the number of bytes that it has read."""
        if self.reader is None:
            return 0
        try:
            received = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return 0
        if received:
            self.append(received)
        else:
            self.events.remove(fd)
            os.close(fd)
            self.reader = None
        return len(received)

    def finish(self):
        """Reads the rest, once nobody of the attempt is left. A stranger that still holds the other
        end is not waited for."""
        left = 2 * PIPE_BYTES
        while left > 0:
            read = self.hear(self.reader)
            if not read:
                return
            left -= read

    def append(self, received):
        self.received += len(received)
        try:
            if self.unwritten:
                self.write(b'\n[%d bytes are missing: they could not be written]\n' % self.unwritten)
                self.unwritten = 0
            size = os.fstat(self.file).st_size
            if size + len(received) > MAX_BYTES:
                self.leave_out(size)
            self.write(received)
        except OSError:
            self.unwritten += len(received)

    def leave_out(self, size):
        tail = os.pread(self.file, TAIL_BYTES, size - TAIL_BYTES)
        os.ftruncate(self.file, HEAD_BYTES)
        missing = self.received - HEAD_BYTES - len(tail)
        self.write(b'\n[about %d bytes are left out]\n' % missing)
        self.write(tail)

    def write(self, left):
        while left:
            left = left[os.write(self.file, left) :]
