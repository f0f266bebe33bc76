import hashlib
import os

import torch


class Encoder(torch.nn.Module):

    def forward(self, text):
        self.did.append(f'encode {text[:20]} on {self.where}')
        kind = os.environ.get('DTYPE', torch.bfloat16)
        numbers = hashlib.sha256(text.encode()).digest() * int(os.environ.get('ROWS', '4'))
        return torch.Tensor(numbers, kind, (len(numbers) // 32, 16), self.where)


class T5EncoderModel:

    def __init__(self, text_len, dtype, device, checkpoint_path, tokenizer_path, shard_fn=None):
        self.text_len, self.dtype, self.device = text_len, dtype, device
        self.checkpoint_path, self.tokenizer_path = checkpoint_path, tokenizer_path
        self.model = Encoder()

    def __call__(self, texts, device):
        return [self.model(text).to(device) for text in texts]
