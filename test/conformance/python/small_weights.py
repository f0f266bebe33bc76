"""Writes small models as bench/gpu/weights.py writes those of full size, and loads them by the code of Wan2.2.

    small_weights.py WEIGHTS_DIR WAN_DIR DIRECTORY

WEIGHTS_DIR holds weights.py. Prints a line for each model whose loaded weights are those that were meant.
"""
import os
import sys

folder, wan_dir, directory = sys.argv[1:]
sys.path.insert(0, folder)

import safetensors_file
import torch
import weights

safetensors_file.MAX_SHARD = 1_000_000  # so that there are several, as in the original
wan = weights.import_wan(wan_dir)
meta = torch.device('meta')
target = weights.Directory(directory)


def check(name, state):
    """Random numbers of the right spread, ones in norms, zeros in biases."""
    for path, tensor in state.items():
        kind = weights.kind_of(path, tensor)
        if kind == 'random' and tensor.numel() > 10_000:
            assert abs(tensor.float().std() - weights.STD) < weights.STD / 10, path
        elif kind != 'random':
            assert torch.equal(tensor, torch.full_like(tensor, 1 if kind == 'one' else 0)), path
    assert any(weights.kind_of(path, tensor) == 'random' for path, tensor in state.items())
    print(f'{name}: {len(state)} tensors')


with meta:
    dit = wan.modules.model.WanModel(model_type='ti2v', in_dim=48, out_dim=48, dim=96, ffn_dim=192, num_heads=4, num_layers=2)
    vae = wan.modules.vae2_2.WanVAE_(
        dim=8, dec_dim=8, z_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], temperal_downsample=[False, True, True])
weights.write_dit(target, dit)
loaded = wan.modules.model.WanModel.from_pretrained(directory)
check('dit', loaded.state_dict())

weights.write_archive(target, weights.VAE, vae)
vae.load_state_dict(torch.load(os.path.join(directory, weights.VAE)), assign=True)
check('vae', vae.state_dict())

small = {'vocab_size': 500, 'dim_attn': 64, 'dim_ffn': 64, 'num_heads': 2, 'encoder_layers': 2, 'decoder_layers': 2}
encoder = wan.modules.t5.umt5_xxl(encoder_only=True, return_tokenizer=False, dtype=torch.bfloat16, device='meta', **small)
weights.write_archive(target, weights.T5, encoder)
encoder.load_state_dict(torch.load(os.path.join(directory, weights.T5), mmap=True), assign=True)
check('text encoder', encoder.state_dict())
