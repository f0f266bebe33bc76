"""A bounded directory of small files that are trusted only if they are whole."""

import os
import stat

# Embeddings of a prompt have at most 512 rows of 4,096 numbers of 2 or 4 bytes.
MAX_FILE_BYTES = 16 << 20
MAX_HEAD_BYTES = 1024

HASH_BYTES = 32
SUFFIX = '.embedding'


class EmbeddingFiles:
    """Several generations read and write at once, and each may be killed at any time."""

    def __init__(self, directory, max_bytes):
        self.directory = directory
        self.max_bytes = max_bytes

    def read(self, key):
        """Head and numbers. None: there are none, or they are not whole."""
        path = self.path_of(key)
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            known = os.fstat(file)
            if not stat.S_ISREG(known.st_mode) or known.st_size > MAX_FILE_BYTES:
                return None
            with open(file, 'rb', closefd=False) as opened:
                content = opened.read(MAX_FILE_BYTES)
            found = self.unpack(key, content)
            if found is not None:
                os.utime(file)  # what has been used last is kept longest
            return found
        finally:
            os.close(file)

    def write(self, key, head, numbers):
        """Does without where it would not fit, or would take what little room is left."""
        content = self.pack(key, head, numbers)
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory, 0o700, exist_ok=True)
        room = os.statvfs(self.directory)
        is_scarce = room.f_bavail * room.f_frsize < 2 * self.max_bytes
        if is_scarce or len(content) > min(self.max_bytes, MAX_FILE_BYTES):
            return
        self.make_room(len(content))
        temporary = os.path.join(self.directory, f'.{key}.{os.getpid()}')
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(temporary, flags, 0o600)
            with open(file, 'wb') as opened:
                opened.write(content)
            os.replace(temporary, self.path_of(key))
        except OSError:
            remove(temporary)

    def make_room(self, wanted):
        """Removes what was used longest ago, and what generations that were killed had begun."""
        files = sorted(self.listed(), key=lambda one: one[1], reverse=True)
        left = self.max_bytes - wanted
        for path, _, size in files:
            if size > left:
                remove(path)
            else:
                left -= size

    def listed(self):
        with os.scandir(self.directory) as entries:
            for entry in entries:
                try:
                    known = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # another generation has removed it
                if stat.S_ISREG(known.st_mode):
                    yield entry.path, known.st_mtime, known.st_size

    def path_of(self, key):
        return os.path.join(self.directory, key + SUFFIX)

    def pack(self, key, head, numbers):
        import json  # not sooner: the launcher has to start fast

        text = json.dumps(head).encode() + b'\n'
        return self.hash_of(key, text, numbers) + text + numbers

    def unpack(self, key, content):
        end = content.find(b'\n', HASH_BYTES, HASH_BYTES + MAX_HEAD_BYTES)
        if end < 0:
            return None
        import json

        text, numbers = content[HASH_BYTES : end + 1], content[end + 1 :]
        if content[:HASH_BYTES] != self.hash_of(key, text, numbers):
            return None
        return json.loads(text), numbers

    def hash_of(self, key, text, numbers):
        """With the key: a file under another's name is none."""
        import hashlib

        return hashlib.sha256(key.encode() + text + numbers).digest()


def remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass
