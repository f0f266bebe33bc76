import logging

import simulation
import torch


class T5Encoder(torch.nn.Module):
    """Takes its time to be made of random numbers, and to be copied from memory. Neither is needed
    for one that is made without numbers and then assigned what is in a file."""

    def __init__(self, device):
        super().__init__()
        self._parameters['weight'] = torch.Tensor(device)
        simulation.run.reach('building-t5')
        if device != 'meta':
            simulation.run.spend('load', 0.6)
            self.numbers = simulation.weights()

    def load_state_dict(self, state_dict, strict=True, assign=False):
        simulation.run.read_checkpoint(state_dict.path, 0 if state_dict.is_mapped else 0.15)
        return super().load_state_dict(state_dict, strict, assign)


def umt5_xxl(device, **_):
    return T5Encoder(device)


class T5EncoderModel:

    def __init__(self, text_len, dtype=torch.bfloat16, device=torch.cuda.current_device(),
                 checkpoint_path=None, tokenizer_path=None, shard_fn=None):
        self.text_len = text_len
        model = umt5_xxl(
            encoder_only=True, return_tokenizer=False, dtype=dtype,
            device=device).eval().requires_grad_(False)
        logging.info(f'loading {checkpoint_path}')
        simulation.run.reach('loading-t5')
        model.load_state_dict(torch.load(checkpoint_path, map_location='cpu'))
        self.model = model

    def __call__(self, texts, device):
        simulation.run.spend('encode', 0.5)
