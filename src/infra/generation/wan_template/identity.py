"""What a template was loaded from. When any of it has changed, generations must not use it."""

import os
import sys

MAX_FILES = 5_000  # of a checkpoint: a few dozen at most, unless the folder holds something else, too


class Identity:
    """Paths with sizes and times, as they are when this is made: after loading. `began_ns`: files
    that were written later may have changed while they were read."""

    def __init__(self, script, checkpoint, began_ns):
        """`script`: its path as it was given, which may lead over links that are changed."""
        loaded = os.path.realpath(script)
        checkout = os.path.dirname(loaded)
        self.paths = {
            script: 'the script',
            loaded: 'the script',
            sys.executable: 'Python',
            **{path: 'the checkout' for path in modules_below(checkout)},
            **{path: 'the checkpoint' for path in files_below(checkpoint)},
            **{path: 'the installed packages' for path in package_folders()},
        }
        self.known = {path: state_of(path) for path in self.paths}
        self.changed_early = next(
            (path for path, state in self.known.items() if state and state[0] > began_ns), None)

    def what_has_changed(self):
        if self.changed_early:
            return f'{self.paths[self.changed_early]} was changed while it was loaded'
        for path, what in self.paths.items():
            if state_of(path) != self.known[path]:
                return f'{what} has changed: {path}'
        return None


def modules_below(folder):
    files = {getattr(module, '__file__', None) for module in list(sys.modules.values())}
    return sorted(file for file in files if file and file.startswith(folder + os.sep))


def files_below(folder):
    """Also the folders: a file may be added."""
    found = [folder]
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.')]
        found += [os.path.join(path, name) for name in (*folders, *names)]
        if len(found) > MAX_FILES:
            break
    return found[:MAX_FILES]


def package_folders():
    """The folders that packages are looked for in: an installation changes their times. And what each
    package says of itself, which changes with its version."""
    found = []
    for folder in sys.path:
        try:
            with os.scandir(folder or '.') as entries:
                found += [entry.path for entry in entries if entry.name.endswith(('.dist-info', '.egg-info'))]
            found.append(folder or '.')
        except OSError:
            pass
    return found


def state_of(path):
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
