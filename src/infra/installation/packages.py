"""Says as JSON which of the modules named as arguments this Python has, and in which version.

Nothing is imported: `import wan` would need a GPU, and torch takes seconds.
"""
import importlib.util
import json
import platform
import sys


def find(module, distributions):
    """None where it is not there; "" where nobody says which version it is."""
    from importlib import metadata
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except (ImportError, ValueError):
        return None
    for name in distributions.get(module, []):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ''


def main():
    found = {}
    # Older ones are too old for Wan2.2, and cannot tell whose a module is.
    if sys.version_info >= (3, 10):
        from importlib import metadata
        distributions = metadata.packages_distributions()
        found = {module: find(module, distributions) for module in sys.argv[1:]}
    print(json.dumps({'python': platform.python_version(), 'packages': found}))


if __name__ == '__main__':
    main()
