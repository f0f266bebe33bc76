"""The least that can be called a warm start: a loop that imports the simulator once, and forks each generation.

    fork_loop.py JOBS SAVE_FILE CKPT_DIR [compiled]     in the folder of the simulator

Each fork runs the script as Python would, or what was compiled of it before.
"""

import gc
import os
import runpy
import sys

SCRIPT = 'generate.py'


def main(jobs, save_file, checkpoint, how='each'):
    sys.path.insert(0, os.getcwd())
    import torch  # noqa: F401
    import wan  # noqa: F401
    from wan.utils.utils import save_video  # noqa: F401

    with open(SCRIPT, 'rb') as file:
        code = compile(file.read(), SCRIPT, 'exec', dont_inherit=True) if how == 'compiled' else None
    gc.collect()
    gc.freeze()
    for number in range(int(jobs)):
        pid = os.fork()
        if pid == 0:
            generate(code, [
                '--task', 'ti2v-5B', '--size', '1280*704', '--frame_num', '5', '--sample_steps', '4',
                '--ckpt_dir', checkpoint, '--save_file', save_file, '--base_seed', '7',
                f'--prompt=job {number}'])
        os.waitpid(pid, 0)


def generate(code, arguments):
    sys.argv[:] = [SCRIPT, *arguments]
    if code is None:
        runpy.run_path(SCRIPT, run_name='__main__')
    else:
        module = type(sys)('__main__')
        sys.modules['__main__'] = module
        exec(code, module.__dict__)
    os._exit(0)


main(*sys.argv[1:])
