"""Writes a checkpoint with random weights, which the service and Wan2.2 both take for whole.

    write_checkpoint.py TASK DIRECTORY PATH=BYTES ...

Each PATH is made at least as long as BYTES, the length of the published file. It stays readable, and takes no room
on the disk for what is missing.
"""
import os
import struct
import sys

import torch
import wan.modules.t5 as t5
import wan.modules.vae2_1 as vae2_1
import wan.modules.vae2_2 as vae2_2
from on_cpu import changes
from wan.modules.model import WanModel

T5 = 'models_t5_umt5-xxl-enc-bf16.pth'
EXPERTS = ('low_noise_model', 'high_noise_model')
SHARD = '300KB'  # small, so that there are several, as in the original


def main():
    task, directory, *lengths = sys.argv[1:]
    os.makedirs(directory)
    os.chdir(directory)
    torch.manual_seed(1)
    torch.save(t5.umt5_xxl(encoder_only=True, return_tokenizer=False, dtype=torch.bfloat16, device='cpu').state_dict(), T5)
    if task == 'ti2v-5B':
        write_vae(vae2_2, 'Wan2.2_VAE.pth', z_dim=48)
        write_dit('.', model_type='ti2v', in_dim=48, out_dim=48)
    else:
        write_vae(vae2_1, 'Wan2.1_VAE.pth', z_dim=16)
        for expert in EXPERTS:
            write_dit(expert, model_type=task[:3], in_dim=36 if task.startswith('i2v') else 16, out_dim=16)
    for path, length in (entry.rsplit('=', 1) for entry in lengths):
        lengthen(path, int(length))


def write_vae(module, path, z_dim):
    vae = module.WanVAE_(z_dim=z_dim, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
                         temperal_downsample=[False, True, True], dropout=0.0, **changes.VAE[module.__name__])
    torch.save(vae.state_dict(), path)


def write_dit(directory, **config):
    dit = WanModel(**changes.DIT, **config)
    # Zero in a model that has not been trained: every prompt would give the same video.
    torch.nn.init.normal_(dit.head.head.weight, std=0.2)
    dit.save_pretrained(directory, max_shard_size=SHARD)


def lengthen(path, length):
    """With a hole. That of a zip archive, which is what PyTorch writes, is before its directory."""
    is_archive = path.endswith('.pth')
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'r+b' if is_archive else 'wb') as file:
        if not is_archive:
            file.truncate(length)
            return
        content = file.read()
        end = content.rindex(b'PK\5\6')
        entries, size, begin = struct.unpack_from('<10xHII', content, end)
        file.truncate(begin)
        directory = content[begin:begin + size]
        begin = max(length, begin)
        file.seek(begin)
        file.write(directory)
        # In the form for archives of more than 4 GiB: its record, where that is, and the end with no numbers in it.
        file.write(struct.pack('<4sQHHIIQQQQ', b'PK\6\6', 44, 45, 45, 0, 0, entries, entries, size, begin))
        file.write(struct.pack('<4sIQI', b'PK\6\7', 0, begin + size, 1))
        file.write(struct.pack('<4sHHHHIIH', b'PK\5\6', 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


if __name__ == '__main__':
    main()
