"""Importing Wan2.2 and loading its weights, without a GPU."""

import ast
import gc
import logging
import os
import sys
import time

from wan_launcher import hooks, imports, journal, script

from . import generation
from .cuda import without_cuda
from .holding import Held
from .identity import Identity

# Read when a library is loaded or first used: the first would start threads, the second asks the
# driver for what the files of the driver's library tell as well.
OF_TEMPLATES = {'OPENBLAS_NUM_THREADS': '1', 'PYTORCH_NVML_BASED_CUDA_CHECK': '1'}

# Has PyTorch ask for huge pages. A fork copies the page tables of all private memory, and the end of a
# process frees them: with pages of 4 KiB, 4 GiB of converted weights take a fifth of a second for each.
HUGE_PAGES = 'THP_MEM_ALLOC_ENABLE', '1'

# Imported by a generation sooner or later, where they are installed.
LATE_MODULES = (
    'imageio.plugins.ffmpeg',
    'imageio_ffmpeg',
    'PIL.JpegImagePlugin',
    'PIL.PngImagePlugin',
    'PIL.WebPImagePlugin',
)


class Unfit(Exception):
    """Why generations cannot be forked from this process."""


class Recorder(journal.Journal):
    """Keeps what is told while a template is built: what holds for each of its generations, too."""

    def __init__(self):
        journal.Journal.__init__(self, '/dev/null')
        self.is_building = True
        self.told = []

    def tell(self, event, **details):
        if self.is_building:
            self.told.append((event, details))
        else:
            journal.Journal.tell(self, event, **details)


def build(setup):
    """Returns Wan2.2 loaded, in this process."""
    began_ns = time.time_ns()
    os.environ.update(OF_TEMPLATES)
    os.environ.setdefault(*HUGE_PAGES)
    path = os.path.join(os.getcwd(), setup['script'])
    task, checkpoint = ('--task', setup['task']), ('--ckpt_dir', setup['checkpoint'])
    sys.argv[:] = [setup['script'], *setup['arguments'], *task, *checkpoint]
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    recorder, held = Recorder(), Held()
    watch = imports.ImportWatch(recorder, with_held(hooks, setup, held))
    sys.meta_path.insert(0, watch)

    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seed = torch.initial_seed()
    bars = hush_bars()
    with without_cuda(torch):
        code = run_imports(path)
        told = list(recorder.told)
        handlers, level = list(logging.root.handlers), logging.root.level
        missing = {'text encoder', 'dit'}.difference(held.known)
        if missing:
            raise Unfit(f'this checkout has no {" and no ".join(sorted(missing))} that is known')
        load(torch, setup)
    held.is_loading = False
    refuse_cuda(torch)
    refuse_threads()
    identity = Identity(
        os.path.join(setup['cwd'], setup['script']), setup['checkpoint'], began_ns)
    gc.collect()
    return Wan(
        setup, (path, code), recorder, held, identity,
        generation.Fresh(told, threads, seed, bars, handlers, level))


def with_held(hooks, setup, held):
    known = hooks.hooks(setup['options'])
    for name, hold in held.hooks().items():
        known[name] = [hold, *known[name]]
    return known


def hush_bars():
    """Their monitor is a thread. Returns the class and the interval that it has otherwise."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    usual = tqdm.monitor_interval
    tqdm.monitor_interval = 0
    return tqdm, usual


def run_imports(path):
    """All that the script imports at its top, and Wan2.2. Returns what the script was compiled to."""
    _, code = script.compile_script(path)
    with open(path, 'rb') as file:
        tree = ast.parse(file.read(), path)
    wanted = [
        node for node in tree.body
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != '__future__')
    ]
    lines = ast.Module(body=wanted, type_ignores=[])
    exec(compile(lines, path, 'exec', dont_inherit=True), {'__name__': 'wan_template_imports'})
    import wan  # a script may do so later

    for name in LATE_MODULES:
        try:
            __import__(name)
        except ImportError:
            pass
    return code


def load(torch, setup):
    """Calls the constructors as the pipeline of the task does (wan/textimage2video.py and others at
    42bf4cf), so that it finds their results."""
    from wan.configs import WAN_CONFIGS
    from wan.modules.model import WanModel
    from wan.modules.t5 import T5EncoderModel

    task, checkpoint = setup['task'], setup['checkpoint']
    config = WAN_CONFIGS[task]
    T5EncoderModel(
        text_len=config.text_len,
        dtype=config.t5_dtype,
        device=torch.device('cpu'),
        checkpoint_path=os.path.join(checkpoint, config.t5_checkpoint),
        tokenizer_path=os.path.join(checkpoint, config.t5_tokenizer),
        shard_fn=None,
    )
    if task.startswith('ti2v'):
        models = [WanModel.from_pretrained(checkpoint)]
    else:
        parts = (config.low_noise_checkpoint, config.high_noise_checkpoint)
        models = [WanModel.from_pretrained(checkpoint, subfolder=part) for part in parts]
    if '--convert_model_dtype' in setup['arguments']:
        for model in models:  # as _configure_model does: the second time it changes nothing
            model.eval().requires_grad_(False)
            model.to(config.param_dtype)


def refuse_cuda(torch):
    opened = [path for path in descriptors().values() if path.startswith('/dev/nvidia')]
    if opened or torch.cuda.is_initialized():
        raise Unfit(f'loading has touched CUDA: {", ".join(opened) or "it is initialised"}')


def refuse_threads():
    names = []
    for thread in os.listdir('/proc/self/task'):
        with open(f'/proc/self/task/{thread}/comm') as file:
            names.append(file.read().strip())
    if len(names) > 1:
        raise Unfit(f'loading has started threads: {", ".join(sorted(names))}')


def descriptors():
    found = {}
    for name in os.listdir('/proc/self/fd'):
        try:
            found[int(name)] = os.readlink(f'/proc/self/fd/{name}')
        except OSError:
            pass  # that of the listing itself
    return found


class Wan:
    """Wan2.2 as it was loaded, for the forks of this process."""

    def __init__(self, setup, compiled, recorder, held, identity, fresh):
        self.setup = setup
        self.script, self.code = compiled
        self.recorder = recorder
        self.held = held
        self.identity = identity
        self.fresh = fresh
        self.library_descriptors = set()

    def facts(self):
        sizes = {}
        with open('/proc/self/status') as file:
            for line in file:
                name, _, value = line.partition(':')
                if name in ('RssAnon', 'RssFile', 'RssShmem'):
                    sizes[name] = int(value.split()[0]) * 1024
        shared = sizes.get('RssFile', 0) + sizes.get('RssShmem', 0)
        return {'privateBytes': sizes.get('RssAnon', 0), 'sharedBytes': shared}

    def settle(self, ours):
        """Makes forks as cheap as they can be. `ours`: a descriptor that is no library's."""
        self.library_descriptors = set(descriptors()).difference((ours,))
        gc.collect()
        gc.freeze()  # or the first collection in a fork would copy what all of them share

    def what_has_changed(self):
        return self.identity.what_has_changed()

    def become_generation(self, argv, begun):
        generation.become(self, argv, begun)

    def probe(self, env):
        generation.probe(env)
