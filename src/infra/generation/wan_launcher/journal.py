"""Where the launcher writes down how far a generation has come."""

import os
import time


class Journal:
    """Appends events, and gives up whatever cannot be written.

    The file is opened for each of them: a script may close descriptors that are none of its own,
    and our next line would end up in whichever file got the number."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.pid = os.getpid()
        self.is_cut = False

    def tell(self, event, **details):
        if os.getpid() != self.pid:
            return  # a fork of the script
        try:
            known = {'event': event, 'at': round(time.time(), 6), **details}
            line = '{' + ','.join(f'"{key}":{as_json(value)}' for key, value in known.items()) + '}\n'
            self.append((self.is_cut * '\n' + line).encode())
        except Exception:
            pass

    def tell_fallback(self, part, error):
        """A part of the launcher leaves its work to the script."""
        self.tell('fallback', part=part, why=f'{type(error).__name__}: {error}')

    def append(self, line):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        file = os.open(self.path, flags, 0o644)
        try:
            self.is_cut = os.write(file, line) < len(line)
        finally:
            os.close(file)

    def continue_at(self, path):
        """Makes it the journal of a process that was forked from the one that made it."""
        self.path = os.path.abspath(path)
        self.pid = os.getpid()
        self.is_cut = False


def as_json(value):
    """Of numbers and plain text: what would have to be escaped is left out."""
    if isinstance(value, str):
        plain = (c for c in value[:200] if c.isascii() and c.isprintable() and c not in '"\\')
        return f'"{"".join(plain)}"'
    return repr(value)
