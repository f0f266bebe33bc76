import logging

import simulation
import torch


def umt5_xxl(**_):
    simulation.run.reach('building-t5')
    simulation.run.spend('load', 0.6)
    return simulation.weights()


class T5EncoderModel:

    def __init__(self, text_len, dtype=torch.bfloat16, device=torch.cuda.current_device(),
                 checkpoint_path=None, tokenizer_path=None, shard_fn=None):
        self.text_len = text_len
        self.model = umt5_xxl(encoder_only=True, return_tokenizer=False, dtype=dtype, device=device)
        logging.info(f'loading {checkpoint_path}')
        simulation.run.reach('loading-t5')
        simulation.run.read_checkpoint(checkpoint_path, 0.15)

    def __call__(self, texts, device):
        simulation.run.spend('encode', 0.5)
