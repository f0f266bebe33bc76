"""What the pipelines read of the real configurations."""
from types import SimpleNamespace

import torch

T5_FILE = 'models_t5_umt5-xxl-enc-bf16.pth'


def config(vae, shards, *experts):
    low, high = experts or (None, None)
    return SimpleNamespace(
        text_len=512, sample_neg_prompt='静态，模糊，低质量', t5_dtype=torch.bfloat16, param_dtype=torch.bfloat16, t5_checkpoint=T5_FILE,
        t5_tokenizer='google/umt5-xxl', vae_checkpoint=vae, shards=shards,
        low_noise_checkpoint=low, high_noise_checkpoint=high)


EXPERTS = ('low_noise_model', 'high_noise_model')

WAN_CONFIGS = {
    't2v-A14B': config('Wan2.1_VAE.pth', 6, *EXPERTS),
    'i2v-A14B': config('Wan2.1_VAE.pth', 6, *EXPERTS),
    'ti2v-5B': config('Wan2.2_VAE.pth', 3),
    'animate-14B': config('Wan2.1_VAE.pth', 4),
    's2v-14B': config('Wan2.1_VAE.pth', 4),
}
