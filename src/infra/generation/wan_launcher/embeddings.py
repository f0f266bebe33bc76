"""Embeddings of prompts, kept for the next generation.

The text encoder makes numbers of a prompt and of the negative prompt, which is the same for nearly all
jobs. They are the same bits each time, so they are kept in a directory: each in a file, named by a hash of
all that they depend on. The largest cost is not the encoding but moving the encoder to the GPU and back, so
it is moved when it is used, and not at all where both prompts are known.

Files are taken for what a neighbour may have left there: each is checked before it is used, and is no
pickle. Whatever goes wrong, the encoder does its work as always.
"""

import os
import sys

from .embedding_files import EmbeddingFiles
from .options import value_of
from .wrapping import Unexpected, class_of, disguise, function_of

PART = 'embedding_cache'
OPTION = '--embeddings='

# The version of the file format and of the parts of a file name.
FORMAT = 1


class Wanted:
    files = None


wanted = Wanted()


def want(options):
    """From now on, in this process. `options` are those of `launcher.py`: `--embeddings=BYTES:DIRECTORY`."""
    wanted.files = None
    given = value_of(OPTION, options)
    if given is None or int(os.environ.get('WORLD_SIZE', '1')) > 1:
        return  # ranks encode together: one that would not take part stops all others
    limit, _, directory = given.partition(':')
    wanted.files = EmbeddingFiles(directory, int(limit))


def hook_embeddings(module, journal):
    if not hasattr(sys_torch(), 'frombuffer'):
        return  # PyTorch before 1.10, and simulations of it
    encoder = class_of(module, 'T5EncoderModel')
    init, call = function_of(encoder, '__init__'), function_of(encoder, '__call__')

    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        attempt(journal, lambda: wanted.files and kwargs.get('shard_fn') is None and move_when_used(self.model))

    def __call__(self, texts, device):
        key = attempt(journal, lambda: wanted.files and key_of(module, self, texts, device))
        found = key and attempt(journal, lambda: read(key, device))
        if found is not None and key:
            journal.tell('embedding', found=1)
            return [found]
        result = call(self, texts, device)
        if key:
            journal.tell('embedding', found=0)
            attempt(journal, lambda: write(key, result))
        return result

    encoder.__init__ = disguise(__init__, init)
    encoder.__call__ = disguise(__call__, call)


def attempt(journal, work):
    try:
        return work()
    except Exception as error:
        wanted.files = None
        journal.tell_fallback(PART, error)
        return None


def key_of(module, encoder, texts, device):
    """A hash of everything the numbers depend on. None: nothing is kept of more than one text."""
    import hashlib  # PyTorch has imported these by now
    import json

    torch = sys_torch()
    if len(texts) != 1 or not isinstance(texts[0], str):
        return None
    device = torch.device(device)
    parts = {
        'format': FORMAT,
        'text': texts[0],
        'torch': torch.__version__,
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type,
        'code': state_of(module.__file__),
        'weights': state_of(encoder.checkpoint_path),
        'tokenizer': states_below(encoder.tokenizer_path),
        'textLength': encoder.text_len,
        'dtype': str(encoder.dtype),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def state_of(path):
    known = os.stat(path)
    return [os.path.basename(path), known.st_size, known.st_mtime_ns]


def states_below(path):
    found = []
    for directory, _, names in os.walk(path):
        found += [state_of(os.path.join(directory, name)) for name in names]
    return sorted(found)


# By their names in PyTorch. Bytes of each number.
SIZES = {'bfloat16': 2, 'float16': 2, 'float32': 4}


def read(key, device):
    """The tensor on its device. None: there is none that is whole."""
    torch = sys_torch()
    content = wanted.files.read(key)
    if content is None:
        return None
    head, numbers = content
    dtype, rows, columns = head['dtype'], head['rows'], head['columns']
    if rows * columns * SIZES[dtype] != len(numbers):
        return None
    tensor = torch.frombuffer(bytearray(numbers), dtype=getattr(torch, dtype))
    return tensor.reshape(rows, columns).to(device)


def write(key, result):
    torch = sys_torch()
    is_known = isinstance(result, list) and len(result) == 1 and isinstance(result[0], torch.Tensor)
    if not is_known or result[0].dim() != 2:
        raise Unexpected('an embedding is no list of one matrix')
    tensor = result[0].detach().cpu().contiguous()
    dtype = str(tensor.dtype).rpartition('.')[2]
    if dtype not in SIZES:
        raise Unexpected(f'an embedding consists of {dtype}')
    rows, columns = tensor.shape
    numbers = tensor.view(torch.uint8).numpy().tobytes()
    wanted.files.write(key, {'dtype': dtype, 'rows': rows, 'columns': columns}, numbers)


def move_when_used(model):
    """Has the model moved to a GPU when it is called, and not when the script says so."""
    kind = type(model)
    wished = []

    def to(*args, **kwargs):
        is_device = len(args) == 1 and not kwargs and isinstance(args[0], sys_torch().device)
        if is_device and args[0].type != 'cpu':
            wished[:] = args
            return model
        settle()
        return kind.to(model, *args, **kwargs)

    def cpu():
        if wished:
            wished.clear()  # it has never left
            return model
        return kind.cpu(model)

    def settle(*_):
        if wished:
            kind.to(model, wished.pop())

    model.to, model.cpu = to, cpu
    model.register_forward_pre_hook(settle)


def sys_torch():
    return sys.modules['torch']
