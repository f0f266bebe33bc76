#!/usr/bin/env python3
"""A stand-in for Wan2.2's `generate.py` that needs no GPU, no model and no package.

It takes the same command line, prints the same lines and bars at the same moments, leaves the same
kind of MP4 behind and can fail in every way the real script has been seen to fail. Only the
waiting is invented. `--sim-help` lists what can be set; README.md beside it says the rest.
"""
import argparse
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import namedtuple

# --- The tasks, as far as the command line and the output show them ----------------------------

Task = namedtuple(
    'Task', 'pipeline sizes steps shift guide frames fps heads vae dit_folders shards prompt image')

CATS = ('Two anthropomorphic cats in comfy boxing gear and bright gloves '
        'fight intensely on a spotlighted stage.')
SURFER = ('Summer beach vacation style, a white cat wearing sunglasses sits on a surfboard.')
EXAMPLE_IMAGE = 'examples/i2v_input.JPG'

A14B_SIZES = ('720*1280', '1280*720', '480*832', '832*480')
ALL_SIZES = (*A14B_SIZES, '704*1280', '1280*704', '1024*704', '704*1024')
EXPERTS = ('low_noise_model', 'high_noise_model')
T5_FILE = 'models_t5_umt5-xxl-enc-bf16.pth'

TASKS = {
    't2v-A14B': Task('WanT2V', A14B_SIZES, 40, 12.0, (3.0, 4.0), 81, 16, 40,
                     'Wan2.1_VAE.pth', EXPERTS, 6, CATS, None),
    'i2v-A14B': Task('WanI2V', A14B_SIZES, 40, 5.0, (3.5, 3.5), 81, 16, 40,
                     'Wan2.1_VAE.pth', EXPERTS, 6, SURFER, EXAMPLE_IMAGE),
    'ti2v-5B': Task('WanTI2V', ('704*1280', '1280*704'), 50, 5.0, 5.0, 121, 24, 24,
                    'Wan2.2_VAE.pth', ('',), 3, CATS, None),
    'animate-14B': Task('Wan-Animate', ('720*1280', '1280*720'), 20, 5.0, 1.0, 77, 30, 40,
                        'Wan2.1_VAE.pth', ('',), 4, '视频中的人在做动作', None),
    's2v-14B': Task('WanS2V', ALL_SIZES, 40, 3, 4.5, 81, 16, 40,
                    'Wan2.1_VAE.pth', ('',), 4, SURFER, EXAMPLE_IMAGE),
}


def describe_config(name):
    """The model config as the real script logs it: like there, it always holds Chinese, which is
    what breaks a run's log where the locale is not UTF-8."""
    task = TASKS[name]
    return {
        '__name__': f'Config: Wan {name}', 't5_model': 'umt5_xxl', 'text_len': 512,
        'num_train_timesteps': 1000, 'sample_fps': task.fps, 'sample_neg_prompt': '静态，模糊，低质量',
        'frame_num': task.frames, 't5_checkpoint': T5_FILE, 'vae_checkpoint': task.vae,
        'num_heads': task.heads, 'sample_shift': task.shift, 'sample_steps': task.steps,
        'sample_guide_scale': task.guide,
    }


# --- The real command line ---------------------------------------------------------------------

def yes_or_no(text):
    """`--offload_model` takes a word, not a flag."""
    if text.lower() in ('yes', 'true', 't', 'y', '1'):
        return True
    if text.lower() in ('no', 'false', 'f', 'n', '0'):
        return False
    raise argparse.ArgumentTypeError('Boolean value expected (True/False)')


def real_parser():
    """Every option of the real script, with its type, choices and default."""
    parser = argparse.ArgumentParser(
        description='Generate a video from a text prompt or image using Wan (a simulation of it)',
        epilog='This is a simulation: --sim-help lists its own settings and faults.')
    add = parser.add_argument
    add('--task', default='t2v-A14B', choices=list(TASKS), help='the task to run')
    add('--size', default='1280*720', choices=list(ALL_SIZES), help='WIDTH*HEIGHT; for an image '
        'to video task only the area counts, and the image gives the aspect')
    add('--frame_num', type=int, help='how many frames; should be 4n+1')
    add('--ckpt_dir', help='the checkpoint directory')
    add('--offload_model', type=yes_or_no, help='move models to the CPU when they are not needed')
    add('--ulysses_size', type=int, default=1, help='how many GPUs share one job')
    add('--t5_fsdp', action='store_true', help='shard T5 over GPUs')
    add('--t5_cpu', action='store_true', help='keep T5 on the CPU')
    add('--dit_fsdp', action='store_true', help='shard the DiT over GPUs')
    add('--save_file', help='where to save the video')
    add('--prompt', help='what to generate')
    add('--use_prompt_extend', action='store_true', help='let a language model extend the prompt')
    add('--prompt_extend_method', default='local_qwen', choices=['dashscope', 'local_qwen'])
    add('--prompt_extend_model')
    add('--prompt_extend_target_lang', default='zh', choices=['zh', 'en'])
    add('--base_seed', type=int, default=-1, help='the seed; a negative one means a random one')
    add('--image', help='the image to start from')
    add('--sample_solver', default='unipc', choices=['unipc', 'dpm++'])
    add('--sample_steps', type=int, help='how many sampling steps')
    add('--sample_shift', type=float)
    add('--sample_guide_scale', type=float)
    add('--convert_model_dtype', action='store_true')
    add('--src_root_path', help='animate: the preprocessed material')
    add('--refert_num', type=int, default=77, help='animate: 1 or 5')
    add('--replace_flag', action='store_true', help='animate')
    add('--use_relighting_lora', action='store_true', help='animate')
    add('--num_clip', type=int, help='s2v')
    add('--audio', help='s2v')
    add('--enable_tts', action='store_true', help='s2v')
    add('--tts_prompt_audio', help='s2v')
    add('--tts_prompt_text', help='s2v')
    add('--tts_text', help='s2v')
    add('--pose_video', help='s2v')
    add('--start_from_ref', action='store_true', help='s2v')
    add('--infer_frames', type=int, default=80, help='s2v')
    return parser


def read_arguments(argv):
    """Parses and completes the real arguments; what argparse lets pass fails as an assertion."""
    args = real_parser().parse_args(argv)
    assert args.ckpt_dir is not None, 'Please specify the checkpoint directory.'
    task = TASKS[args.task]
    if args.prompt is None:
        args.prompt = task.prompt
    if args.image is None:
        args.image = task.image
    if args.sample_steps is None:
        args.sample_steps = task.steps
    if args.sample_shift is None:
        args.sample_shift = task.shift
    if args.sample_guide_scale is None:
        args.sample_guide_scale = task.guide
    if args.frame_num is None:
        args.frame_num = task.frames
    if args.base_seed < 0:
        args.base_seed = int.from_bytes(os.urandom(8), 'big') >> 1
    assert args.task == 's2v-14B' or args.size in task.sizes, (
        f'Unsupport size {args.size} for task {args.task}, '
        f'supported sizes are: {", ".join(task.sizes)}')
    return args


# --- Our own settings: speed and faults --------------------------------------------------------

REFERENCE_FRAMES = 121

# A 5B run on a 4090, some fifty times faster: about ten seconds for 50 steps of 121 frames.
DEFAULT_SECONDS = {'load': 1.5, 'encode': 0.3, 'step': 0.13, 'decode': 0.8}

# These grow with the length of the clip, unless somebody has said how long they take.
GROWS_WITH_FRAMES = ('step', 'decode')

DIRECTIVE = re.compile(r'\[sim:([\w-]+)(?:=([^\]]*))?\]')


def above_zero(text):
    number = float(text)
    if number <= 0:
        raise ValueError(text)
    return number


def sim_parser():
    """Our own options. They have their own parser, so that neither the abbreviations nor the
    usage text nor the logged namespace of the real ones show that they exist."""
    def from_env(name, default=None):
        return os.environ.get(name) or default

    def is_on(name):
        return from_env(name, '').lower() in ('1', 'true', 'yes')

    parser = argparse.ArgumentParser(
        usage='generate.py [options of the real script] [--sim-…]', add_help=False,
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description='What the simulation adds. Each option has an environment variable.',
        epilog=faults_help())
    add = parser.add_argument
    add('--sim-help', action='help', help='print this and exit')
    add('--sim-speed', type=above_zero, metavar='FACTOR', default=from_env('SIM_SPEED', '1'),
        help='SIM_SPEED: how many times faster than by default (1000: practically no waiting)')
    for phase, seconds in DEFAULT_SECONDS.items():
        add(f'--sim-{phase}', type=float, metavar='S', default=from_env(f'SIM_{phase.upper()}'),
            help=f'SIM_{phase.upper()}: exact seconds, whatever the speed (default {seconds})')
    add('--sim-fault', metavar='NAME[=VALUE],…', default=from_env('SIM_FAULT', ''),
        help='SIM_FAULT: faults of every run')
    add('--sim-directives', action='store_true', default=is_on('SIM_DIRECTIVES'),
        help='SIM_DIRECTIVES=1: obey [sim:NAME] and [sim:NAME=VALUE] in the prompt')
    add('--sim-check-ckpt', action='store_true', default=is_on('SIM_CHECK_CKPT'),
        help='SIM_CHECK_CKPT=1: fail as the real script does where a checkpoint file is missing')
    return parser


def faults_help():
    lines = [f'  {name:<20}{about}' for name, about in sorted(described_faults().items())]
    return '\n'.join([
        'faults:', *lines, '',
        'in a prompt, also:',
        '  [sim:load=S] [sim:encode=S] [sim:step=S] [sim:decode=S] [sim:speed=FACTOR]',
        '  [sim:once=NAME]     the fault NAME, but only the first time this prompt is run',
        '',
        'environment only:',
        '  SIM_JOURNAL=FILE    append one JSON line when a run starts and one when it ends',
        '  SIM_STATE_DIR=DIR   where `once` remembers (default: the folder for temporary files)',
    ])


class Run:
    """One run: what it was asked for, how long its phases take, and what is to go wrong in it."""

    t5_checkpoint = T5_FILE

    def __init__(self, argv):
        parser = sim_parser()
        sim, self.argv = parser.parse_known_args(argv)
        self.args = None
        self.speed = sim.sim_speed
        self.seconds_given = {phase: getattr(sim, f'sim_{phase}') for phase in DEFAULT_SECONDS}
        self.checks_checkpoint = sim.sim_check_ckpt
        self.faults = {}
        prompt = peek_prompt(self.argv)
        wanted = [item.partition('=')[::2] for item in sim.sim_fault.split(',') if item]
        if sim.sim_directives:
            wanted += DIRECTIVE.findall(prompt)
        try:
            for name, value in wanted:
                self._set(name, value, prompt)
        except ValueError as error:
            parser.error(str(error))

    def _set(self, name, value, prompt):
        if name == 'once':
            name, _, value = value.partition('=')
            if is_first_time(prompt, name):
                self._set(name, value, prompt)
        elif name in DEFAULT_SECONDS:
            self.seconds_given[name] = float(value)
        elif name == 'speed':
            self.speed = above_zero(value)
        elif name in described_faults():
            self.faults[name] = value
        else:
            raise ValueError(f'there is no fault or directive {name!r}: see --sim-help')

    @property
    def task(self):
        return self.args.task

    @property
    def frames(self):
        """The model works on groups of four frames after the first one, and rounds down."""
        return 4 * ((self.args.frame_num - 1) // 4) + 1

    def seconds(self, phase):
        given = self.seconds_given[phase]
        if given is not None:
            return given
        growth = self.frames / REFERENCE_FRAMES if phase in GROWS_WITH_FRAMES else 1
        return DEFAULT_SECONDS[phase] * growth / self.speed

    def spend(self, phase, share=1.0):
        time.sleep(self.seconds(phase) * share)

    def read_checkpoint(self, path, share):
        if self.checks_checkpoint:
            open(path, 'rb').close()
        self.spend('load', share)

    def reach(self, moment):
        """Lets the faults of this run that are due at this moment happen."""
        for name, value in self.faults.items():
            if name in STRIKES and STRIKES[name].moment == moment:
                STRIKES[name].strike(self, value)


def peek_prompt(argv):
    """The prompt before argparse has read it: faults of the import come before argparse does."""
    for item, following in zip(argv, [*argv[1:], '']):
        if item.startswith('--prompt='):
            return item.partition('=')[2]
        if item == '--prompt':
            return following
    return ''


def is_first_time(prompt, name):
    """True once per prompt and fault. The marker is made exclusively: two runs cannot both win."""
    import hashlib
    import tempfile
    folder = os.environ.get('SIM_STATE_DIR') or tempfile.gettempdir()
    key = hashlib.sha256(f'{name}\n{prompt}'.encode(errors='surrogateescape')).hexdigest()[:32]
    try:
        os.close(os.open(os.path.join(folder, f'sim-once-{key}'), os.O_CREAT | os.O_EXCL, 0o600))
        return True
    except FileExistsError:
        return False


# --- Faults ------------------------------------------------------------------------------------

Strike = namedtuple('Strike', 'moment strike')
STRIKES = {}

# Faults that do nothing by themselves: the code they alter looks for them.
ALTERATIONS = {
    'no-bar': 'no progress bars at all',
    'huge-bar': 'bars VALUE cells wide (default 100000)',
    'other-checkout': 'nobody who watches its imports gets to see them; goes on',
    'no-file-silent': 'saves nothing and says nothing of it; exit 0',
    'garbage-file': 'saves a text file; exit 0',
    'truncated': 'saves a playable video with half of the frames; exit 0',
    'wrong-size': 'saves a video of half the width and height; exit 0',
}


def described_faults():
    about = {name: strike.strike.__doc__ for name, strike in STRIKES.items()}
    return {**about, **ALTERATIONS}


def fault(name, moment):
    """Makes the function below it happen at that moment of a run that has the fault."""
    def register(strike):
        STRIKES[name] = Strike(moment, strike)
        return strike
    return register


class OutOfMemoryError(RuntimeError):
    """Shows in a traceback under the name it has in torch."""
    __module__ = 'torch'


def out_of_memory(wanted):
    return OutOfMemoryError(
        f'CUDA out of memory. Tried to allocate {wanted}. GPU 0 has a total capacity of 23.53 GiB '
        'of which 528.56 MiB is free. Including non-PyTorch memory, this process has 23.00 GiB '
        'memory in use. Of the allocated memory 18.32 GiB is allocated by PyTorch, and 4.01 GiB '
        'is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try '
        'setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.')


def write_raw(stream, data):
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def hang():
    while True:
        time.sleep(3600)


@fault('ignore-term', 'started')
def ignore_term(run, value):
    """ignores SIGTERM from its first moment on"""
    # A handler and not SIG_IGN, which the encoder would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)


@fault('no-cuda', 'imported')
def no_cuda(run, value):
    """finds no NVIDIA driver while importing; exit 1"""
    raise RuntimeError(
        'Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and '
        'installed a driver from http://www.nvidia.com/Download/index.aspx')


@fault('module-missing', 'imported')
def module_missing(run, value):
    """finds a package missing while importing; exit 1"""
    raise ModuleNotFoundError("No module named 'decord'", name='decord')


@fault('hang-load', 'building-t5')
def hang_load(run, value):
    """hangs for ever while the text encoder is built"""
    hang()


@fault('checkpoint-missing', 'loading-t5')
def checkpoint_missing(run, value):
    """does not find the text encoder's checkpoint; exit 1"""
    path = os.path.join(run.args.ckpt_dir, T5_FILE)
    raise FileNotFoundError(2, 'No such file or directory', path)


@fault('oom-load', 'loaded')
def oom_load(run, value):
    """runs out of GPU memory when the model is loaded; exit 1"""
    raise out_of_memory('140.00 MiB')


@fault('strays', 'generating')
def strays(run, value):
    """leaves five kinds of stray processes that sleep VALUE seconds (default 3600), and goes on"""
    sleep = ['sleep', value or '3600']
    daemon = ['sh', '-c', 'setsid "$@" </dev/null >/dev/null 2>&1 &', 'sh', *sleep]
    subprocess.Popen(sleep)
    subprocess.Popen(['nohup', *sleep])
    subprocess.Popen(sleep, start_new_session=True)
    subprocess.run(daemon, cwd='/')
    subprocess.run(daemon, cwd='/', env={})


@fault('fork-a-lot', 'generating')
def fork_a_lot(run, value):
    """leaves VALUE sleeping children (default 100), and goes on"""
    for _ in range(int(value or 100)):
        subprocess.Popen(['sleep', '3600'])


@fault('chatty', 'generating')
def chatty(run, value):
    """prints VALUE MB (default 200), half on stdout and half on stderr, and goes on"""
    lines = (b'chatter ' * 15 + b'about nothing\n') * 128
    for _ in range(int(float(value or 200) * 1e6 / len(lines) / 2)):
        write_raw(sys.stdout, lines)
        write_raw(sys.stderr, lines)


@fault('endless-line', 'generating')
def endless_line(run, value):
    """prints a line of VALUE MB (default 16) without an end on each stream, and goes on"""
    line = b'x' * int(float(value or 16) * 1e6)
    write_raw(sys.stdout, line)
    write_raw(sys.stderr, line)


@fault('invalid-utf8', 'generating')
def invalid_utf8(run, value):
    """prints bytes that are no UTF-8 on each stream, and goes on"""
    for stream in (sys.stdout, sys.stderr):
        write_raw(stream, b'caf\xe9 \xff\xfe \xc3( \xf0\x9f\n')


@fault('traceback-but-ok', 'generating')
def traceback_but_ok(run, value):
    """logs a traceback, as libraries do, and goes on"""
    logging.info('A matching Triton is not available, some optimizations will not be enabled\n'
                 'Traceback (most recent call last):\n'
                 '  File "xformers/__init__.py", line 57, in _is_triton_available\n'
                 '    import triton\n'
                 "ModuleNotFoundError: No module named 'triton'")


@fault('close-stdout', 'generating')
def close_stdout(run, value):
    """closes its stdout, and goes on"""
    # Something has to take the number: a bare close would give it to the encoder's stdin.
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@fault('flash-attn-missing', 'first-step')
def flash_attn_missing(run, value):
    """fails the bare assertion of a missing flash-attn at the first step; exit 1"""
    FLASH_ATTN_2_AVAILABLE = False
    assert FLASH_ATTN_2_AVAILABLE


@fault('hang-step', 'half-sampled')
def hang_step(run, value):
    """hangs for ever halfway through sampling"""
    hang()


@fault('kill-self', 'half-sampled')
def kill_self(run, value):
    """kills itself with SIGKILL halfway through sampling, as the kernel does when RAM runs out"""
    os.kill(os.getpid(), signal.SIGKILL)


@fault('segfault', 'half-sampled')
def segfault(run, value):
    """reads address 0 halfway through sampling: SIGSEGV"""
    import ctypes
    ctypes.string_at(0)


@fault('exit-137', 'half-sampled')
def exit_137(run, value):
    """exits with status 137 halfway through sampling, as a killed shell or container reports it"""
    sys.exit(137)


@fault('exit-1', 'half-sampled')
def exit_1(run, value):
    """raises an exception like any other halfway through sampling; exit 1"""
    raise RuntimeError('The size of tensor a (48) must match the size of tensor b (16)')


@fault('cuda-error', 'half-sampled')
def cuda_error(run, value):
    """meets a CUDA error halfway through sampling; exit 1"""
    raise RuntimeError(
        'CUDA error: an illegal memory access was encountered\n'
        'CUDA kernel errors might be asynchronously reported at some other API call, so the '
        'stacktrace below might be incorrect.')


@fault('oom', 'half-decoded')
def oom(run, value):
    """runs out of GPU memory after the bar is full, while decoding; exit 1"""
    raise out_of_memory('1.72 GiB')


@fault('oom-save', 'saving')
def oom_save(run, value):
    """runs out of GPU memory while saving, which the script only logs; exit 0 without a file"""
    raise out_of_memory('2.44 GiB')


@fault('no-file', 'saving')
def no_file(run, value):
    """fails to save for another reason, which it only logs; exit 0 without a file"""
    raise RuntimeError("result type Float can't be cast to the desired output type Byte")


@fault('hang-save', 'half-saved')
def hang_save(run, value):
    """hangs for ever halfway through saving, with the encoder waiting for more"""
    hang()


# --- The phases of a run -----------------------------------------------------------------------

def generate(run):
    args, task = run.args, TASKS[run.args.task]
    set_up_logging()
    settle_offloading(args)
    expand = prompt_expander(args)
    logging.info(f'Generation job args: {args}')
    logging.info(f'Generation model config: {describe_config(args.task)}')
    logging.info(f'Input prompt: {args.prompt}')
    size = output_size(args)
    if args.image is not None:
        logging.info(f'Input image: {args.image}')
    expand()

    logging.info(f'Creating {task.pipeline} pipeline.')
    pipeline = pipeline_of(args.task)(wan.configs.WAN_CONFIGS[args.task], checkpoint_dir=args.ckpt_dir)
    logging.info('Generating video ...')
    run.reach('generating')
    video = pipeline.generate(args.prompt, size, sampling_steps=args.sample_steps)

    if args.save_file is None:
        args.save_file = default_save_file(args)
    logging.info(f'Saving generated video to {args.save_file}')
    save_video(tensor=video, save_file=args.save_file, fps=task.fps)
    logging.info('Finished.')


def import_libraries(run):
    """The real script imports torch and every task before it looks at its arguments. Which modules
    there are, and under which names they know what they use, is as in the real checkout."""
    if 'other-checkout' in run.faults:
        sys.meta_path[:] = [finder for finder in sys.meta_path if isinstance(finder, type)]
    global wan, save_video
    import simulation
    simulation.run = run
    import wan
    import wan.bar
    import wan.configs
    from wan.utils.utils import save_video
    wan.bar.tqdm.is_hidden = 'no-bar' in run.faults
    if 'huge-bar' in run.faults:
        wan.bar.tqdm.cells = int(run.faults['huge-bar'] or 100_000)
    run.reach('imported')


def pipeline_of(task):
    return {
        't2v-A14B': wan.WanT2V, 'i2v-A14B': wan.WanI2V, 'ti2v-5B': wan.WanTI2V,
        's2v-14B': wan.WanS2V, 'animate-14B': wan.WanAnimate,
    }[task]


def set_up_logging():
    logging.basicConfig(level=logging.INFO, format='[%(asctime)s] %(levelname)s: %(message)s',
                        handlers=[logging.StreamHandler(stream=sys.stdout)])


def settle_offloading(args):
    world_size = int(os.environ.get('WORLD_SIZE') or 1)
    if args.offload_model is None:
        args.offload_model = world_size == 1
        logging.info(f'offload_model is not specified, set to {args.offload_model}.')
    if world_size > 1:
        wait_for_other_ranks()
    assert not (args.t5_fsdp or args.dit_fsdp), (
        't5_fsdp and dit_fsdp are not supported in non-distributed environments.')
    assert args.ulysses_size <= 1, (
        'sequence parallel are not supported in non-distributed environments.')


def wait_for_other_ranks():
    """With torchrun's variables in its environment the script waits for ranks that never come."""
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        if name not in os.environ:
            raise ValueError('Error initializing torch.distributed using env:// rendezvous: '
                             f'environment variable {name} expected, but not set')
    hang()


def prompt_expander(args):
    """Prompt extension as far as its lines go: the prompt stays as it is."""
    def expand():
        logging.info('Extending prompt ...')
        logging.info(f'Extended prompt: {args.prompt}')

    if not args.use_prompt_extend:
        return lambda: None
    if args.prompt_extend_method == 'dashscope' and 'DASH_API_KEY' not in os.environ:
        raise ValueError('DASH_API_KEY is not set')
    return expand


def default_save_file(args):
    prompt = args.prompt.replace(' ', '_').replace('/', '_')[:50]
    moment = time.strftime('%Y%m%d_%H%M%S')
    return f'{args.task}_{args.size}_{args.ulysses_size}_{prompt}_{moment}.mp4'


# --- The size of the video ---------------------------------------------------------------------

def output_size(args):
    """The size asked for, or for a video from an image the image's aspect on the same area."""
    width, height = (int(side) for side in args.size.split('*'))
    image = args.image and read_image_size(args.image)
    if image and args.task == 'ti2v-5B':
        return size_for_5b(*image, width * height)
    if image and args.task == 'i2v-A14B':
        return size_for_a14b(*image, width * height)
    return width, height


# Both compute in the order of the real ones: on a border of the grid the last bit decides.

def size_for_5b(image_width, image_height, area):
    """In steps of 32 one side is rounded down and the other fills the area; of the two ways to do
    that, the one whose aspect is closer to the image's."""
    def distortion(size):
        ratio = size[0] / size[1]
        return max(aspect / ratio, ratio / aspect)

    aspect = image_width / image_height
    exact_width = (area * aspect) ** 0.5
    width, height = down(exact_width, 32), down(area / exact_width, 32)
    return min((down(area / height, 32), height), (width, down(area / width, 32)), key=distortion)


def size_for_a14b(image_width, image_height, area):
    """Both sides are rounded down in steps of 16."""
    aspect = image_height / image_width
    return down((area / aspect) ** 0.5, 16), down((area * aspect) ** 0.5, 16)


def down(length, grid):
    return int(length // grid) * grid


def read_image_size(path):
    """Width and height of a PNG, JPEG or WebP; None where the header does not tell."""
    with open(path, 'rb') as file:
        data = file.read()
    if data.startswith(b'\x89PNG'):
        return number_at(data, 16, 4), number_at(data, 20, 4)
    if data.startswith(b'\xff\xd8'):
        return jpeg_size(data)
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return webp_size(data)
    return None


def jpeg_size(data):
    """Walks the segments up to the frame header, which alone knows the size."""
    at = 2
    while at + 9 <= len(data):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return number_at(data, at + 7, 2), number_at(data, at + 5, 2)
        at += 2 + number_at(data, at + 2, 2)
    return None


def webp_size(data):
    """Each of the three kinds keeps it in a way of its own."""
    kind = data[12:16]
    if kind == b'VP8X':
        return 1 + little_at(data, 24, 3), 1 + little_at(data, 27, 3)
    if kind == b'VP8L':
        bits = little_at(data, 21, 4)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b'VP8 ':
        return little_at(data, 26, 2) & 0x3FFF, little_at(data, 28, 2) & 0x3FFF
    return None


def little_at(data, at, length):
    return int.from_bytes(data[at:at + length], 'little')


def number_at(data, at, length):
    return int.from_bytes(data[at:at + length], 'big')


# --- The journal -------------------------------------------------------------------------------

def journal(run, event):
    """Tells a test what really ran where and when. One write per line: many runs share the file."""
    path = os.environ.get('SIM_JOURNAL')
    if not path:
        return
    line = json.dumps({
        'event': event, 'pid': os.getpid(), 'gpu': os.environ.get('CUDA_VISIBLE_DEVICES'),
        'save_file': run.args.save_file, 'prompt': run.args.prompt,
        'negative_prompt': getattr(run, 'negative_prompt', None), 'at': time.time()})
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (line + '\n').encode())
    os.close(file)


def main():
    run = Run(sys.argv[1:])
    run.reach('started')
    import_libraries(run)
    run.args = read_arguments(run.argv)
    journal(run, 'start')
    try:
        generate(run)
    finally:
        journal(run, 'end')


if __name__ == '__main__':
    main()
