"""Writes a checkpoint of ti2v-5B with random weights, of the sizes that the published one has.

    PYTHON bench/gpu/weights.py WAN_DIR DIRECTORY PATH=BYTES ...
    PYTHON bench/gpu/weights.py --sizes WAN_DIR PATH=BYTES ...

WAN_DIR holds the code of Wan2.2: the modules and their sizes come from it. Files that it does not define (those of the
tokenizer) get the length BYTES. Prints {path: bytes} as JSON. With --sizes nothing is written.

Needs PyTorch and the packages of Wan2.2, no GPU. The largest file, the text encoder, is 11.4 GB, and so is the host
memory that this takes. The models are built on PyTorch's device `meta`, without numbers. Each tensor is filled from
one block of random numbers, because 34 GB of them would take minutes. Norms are 1 and biases 0, as in a new model: the
values stay in a range in which every layer does real work.
"""

import contextlib
import json
import os
import sys
import types
from collections import OrderedDict
from unittest import mock

from safetensors_file import shards_of, write_shard
from tokenizer import tokenizer_files

T5 = 'models_t5_umt5-xxl-enc-bf16.pth'
VAE = 'Wan2.2_VAE.pth'
INDEX = 'diffusion_pytorch_model.safetensors.index.json'
TASK = 'ti2v-5B'
STD = 0.02
BLOCK = 1 << 22  # numbers

# Archives of PyTorch differ by some KB from version to version, and the service takes no file that is
# smaller than the published one. This is put into each of them.
PADDING = 256 * 1024


def main(arguments):
    is_dry = arguments[0] == '--sizes'
    wan_dir, *rest = arguments[1:] if is_dry else arguments
    directory, *lengths = [None, *rest] if is_dry else rest
    lengths = {path: int(length) for path, length in (entry.rsplit('=', 1) for entry in lengths)}
    target = Sizes() if is_dry else Directory(directory)
    wan = import_wan(os.path.abspath(wan_dir))
    write_archive(target, T5, text_encoder(wan))
    write_archive(target, VAE, vae(wan))
    write_dit(target, dit(wan))
    for path, content in tokenizer_files(lengths).items():
        target.put(path, content)
    print(json.dumps(target.sizes))


# --- The models, without numbers


def import_wan(wan_dir):
    """Its modules without `wan/__init__.py`, which imports every task and all of their packages."""
    import torch

    sys.path.insert(0, wan_dir)
    package = types.ModuleType('wan')
    package.__path__ = [os.path.join(wan_dir, 'wan')]
    sys.modules['wan'] = package
    with mock.patch.object(torch.cuda, 'current_device', lambda: 0):  # modules/t5.py asks for it at import
        import wan.configs
        import wan.modules.model
        import wan.modules.t5
        import wan.modules.vae2_2
    return wan


def text_encoder(wan):
    config = wan.configs.WAN_CONFIGS[TASK]
    return wan.modules.t5.umt5_xxl(
        encoder_only=True, return_tokenizer=False, dtype=config.t5_dtype, device='meta')


def vae(wan):
    """By the constructor that a generation calls, so that all sizes are its own."""
    module = wan.modules.vae2_2
    with mock.patch.object(module.torch, 'load', lambda *_, **__: {}), mock.patch.object(
            module.WanVAE_, 'load_state_dict', lambda *_, **__: None), hushed():
        return module.Wan2_2_VAE(vae_pth='', device='meta').model


def dit(wan):
    config = wan.configs.WAN_CONFIGS[TASK]
    channels = vae(wan).z_dim
    names = ('patch_size', 'text_len', 'dim', 'ffn_dim', 'freq_dim', 'num_heads', 'num_layers',
             'window_size', 'qk_norm', 'cross_attn_norm', 'eps')
    with wan.modules.model.torch.device('meta'):
        return wan.modules.model.WanModel(
            model_type='ti2v', in_dim=channels, out_dim=channels, **{name: config[name] for name in names})


@contextlib.contextmanager
def hushed():
    """One module logs what it loads."""
    import logging

    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


# --- The files


def write_archive(target, path, model):
    """As PyTorch writes a state dict."""
    import torch

    tensors = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in model.state_dict().items()}
    if target.wants_numbers:
        fill(torch, tensors)
    state = OrderedDict(tensors)
    # Modules keep their versions there. It is read with the file, and otherwise ignored.
    state._metadata = {'': {'version': 1, 'padding': 'x' * PADDING}}
    with target.open(path) as file:
        torch.save(state, file)


def write_dit(target, model):
    """As diffusers' `save_pretrained` does, without ever holding all of it."""
    import torch

    block = (torch.randn(BLOCK, generator=seeded(torch)) * STD).numpy().tobytes()
    shards, index = shards_of(model.state_dict())
    for path, tensors in shards.items():
        with target.open(path) as file:
            write_shard(file, tensors, lambda name, tensor: pieces(block, name, tensor))
    target.put(INDEX, json.dumps(index, indent=2).encode())
    target.put('config.json', model.to_json_string().encode())


def fill(torch, tensors):
    block = torch.randn(BLOCK, generator=seeded(torch)) * STD
    for number, (name, tensor) in enumerate(tensors.items()):
        kind = kind_of(name, tensor)
        if kind != 'random':
            tensor.fill_(1 if kind == 'one' else 0)
            continue
        flat, source = tensor.view(-1), block.to(tensor.dtype)
        at, begin = 0, (number * 7919) % BLOCK
        while at < flat.numel():
            part = source[begin:begin + flat.numel() - at]
            flat[at:at + part.numel()] = part
            at, begin = at + part.numel(), 0


def pieces(block, name, tensor):
    """The bytes of a tensor in float32."""
    length = tensor.numel() * 4
    kind = kind_of(name, tensor)
    if kind != 'random':
        yield (b'\0\0\x80\x3f' if kind == 'one' else b'\0\0\0\0') * tensor.numel()
        return
    begin = sum(name.encode()) * 7919 * 4 % len(block)
    while length > 0:
        part = memoryview(block)[begin:begin + length]
        yield part
        length, begin = length - len(part), 0


def kind_of(name, tensor):
    if name.endswith('bias'):
        return 'zero'
    return 'one' if tensor.dim() == 1 or name.endswith('gamma') else 'random'


def seeded(torch):
    return torch.Generator().manual_seed(1)


class Directory:
    wants_numbers = True

    def __init__(self, path):
        self.path = path

    def open(self, path):
        whole = os.path.join(self.path, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        return open(whole, 'wb')

    def put(self, path, content):
        with self.open(path) as file:
            file.write(content)

    @property
    def sizes(self):
        found = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, self.path)] = os.path.getsize(path)
        return found


class Sizes:
    """Counts what would be written. Memory that nobody has written to takes none: all of it is one page."""

    wants_numbers = False

    def __init__(self):
        self.sizes = {}

    @contextlib.contextmanager
    def open(self, path):
        counter = Counter()
        yield counter
        self.sizes[path] = counter.length

    def put(self, path, content):
        self.sizes[path] = len(content)


class Counter:
    length = 0

    def write(self, content):
        length = len(content)
        self.length += length
        return length

    def flush(self):
        pass


if __name__ == '__main__':
    main(sys.argv[1:])
