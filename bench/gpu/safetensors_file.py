"""Files of safetensors (https://github.com/huggingface/safetensors#format), written piece by piece.

The library takes all tensors of a file at once, which are 10 GB.
"""

import json
import struct

MAX_SHARD = 10_000_000_000  # the default of `save_pretrained`
FILE = 'diffusion_pytorch_model-{:05}-of-{:05}.safetensors'


def shards_of(tensors):
    """The tensors of each file by its path, in order, and the index of all files."""
    groups, size = [{}], 0
    for name, tensor in tensors.items():
        length = length_of(tensor)
        if groups[-1] and size + length > MAX_SHARD:
            groups.append({})
            size = 0
        groups[-1][name] = tensor
        size += length
    shards = {FILE.format(number, len(groups)): group for number, group in enumerate(groups, 1)}
    return shards, {
        'metadata': {'total_size': sum(length_of(tensor) for tensor in tensors.values())},
        'weight_map': {name: path for path, group in shards.items() for name in group},
    }


def write_shard(file, tensors, pieces_of):
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    for name, tensor in tensors.items():
        end = at + length_of(tensor)
        header[name] = {'dtype': 'F32', 'shape': list(tensor.shape), 'data_offsets': [at, end]}
        at = end
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    file.write(struct.pack('<Q', len(text)))
    file.write(text)
    for name, tensor in tensors.items():
        for piece in pieces_of(name, tensor):
            file.write(piece)


def length_of(tensor):
    assert str(tensor.dtype) == 'torch.float32', tensor.dtype
    return tensor.numel() * 4
