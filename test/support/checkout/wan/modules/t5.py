import logging

import torch


class T5Encoder(torch.nn.Module):

    def __init__(self, dtype, device):
        super().__init__()
        torch.calls.append(f'build on {device}')
        self._parameters['weight'] = torch.Tensor(2, 3, dtype=dtype, device=device)

    def __call__(self, texts):
        assert not self._parameters['weight'].is_meta
        return [text.upper() for text in texts]


def umt5_xxl(**kwargs):
    return T5Encoder(kwargs['dtype'], kwargs['device'])


class T5EncoderModel:

    def __init__(self, text_len, checkpoint_path=None):
        self.text_len = text_len
        model = umt5_xxl(
            encoder_only=True, return_tokenizer=False, dtype=torch.bfloat16,
            device='cpu').eval().requires_grad_(False)
        logging.info(f'loading {checkpoint_path}')
        model.load_state_dict(torch.load(checkpoint_path, map_location='cpu'))
        self.model = model

    def __call__(self, texts, device):
        return self.model(texts)
