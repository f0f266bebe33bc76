"""Uses the text encoder as Wan2.2 does: `generate.py PROMPT NEGATIVE_PROMPT [--t5_cpu]`."""
import json
import sys

import torch
from wan.modules.t5 import T5EncoderModel

prompts, t5_cpu = sys.argv[1:3], '--t5_cpu' in sys.argv
gpu = torch.device('cuda:0')
encoder = T5EncoderModel(
    text_len=512, dtype=torch.bfloat16, device=torch.device('cpu'),
    checkpoint_path='t5.pth', tokenizer_path='tokenizer', shard_fn=None)
if not t5_cpu:
    encoder.model.to(gpu)
made = [encoder([prompt], torch.device('cpu') if t5_cpu else gpu)[0] for prompt in prompts]
if not t5_cpu:
    encoder.model.cpu()
made = [one.to(gpu) for one in made]
embeddings = [[one.numbers.hex(), one.dtype, one.shape, one.where] for one in made]
print(json.dumps({'did': encoder.model.did, 'isOn': encoder.model.where, 'embeddings': embeddings}))
