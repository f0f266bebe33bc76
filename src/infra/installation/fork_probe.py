"""Whether a fork of a process that has imported PyTorch can use a GPU, which warm starts rely on.

    python3 fork_probe.py FOLDER

FOLDER has the packages of the launcher and of templates: the fork does what the probe of a template
does. Nothing of Wan2.2 is imported and no weights are read. Prints a JSON object: {"ok": true, ...},
{"ok": false, "why": "..."}, or {"why": "..."} where it could not be run.
"""
import json
import os
import sys

sys.dont_write_bytecode = True  # where we are installed is no place to write to


def main():
    sys.path.insert(0, sys.argv[1])
    from wan_template import building, generation

    os.environ.update(building.OF_TEMPLATES)
    try:
        import torch
    except BaseException as error:
        tell(why=f'PyTorch cannot be imported: {describe(error)}')
        return
    torch.set_num_threads(1)
    try:
        building.refuse_cuda(torch)
        building.refuse_threads()
    except building.Unfit as unfit:
        tell(ok=False, why=str(unfit))
        return
    sys.stdout.flush()
    if os.fork() == 0:
        os._exit(probe(generation))
    _, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        tell(ok=False, why=f'the fork was ended by signal {-code}')


def probe(generation):
    """Runs in the fork."""
    try:
        generation.probe(dict(os.environ))
        tell(ok=True)
    except BaseException as error:
        tell(ok=False, why=describe(error))
    return 0


def describe(error):
    return f'{type(error).__name__}: {error}'.replace('\n', ' ')[:500]


def tell(**found):
    print(json.dumps(found), flush=True)


if __name__ == '__main__':
    main()
