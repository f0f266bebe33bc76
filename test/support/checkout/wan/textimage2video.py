import logging
import os

import torch
from tqdm import tqdm

from .modules.model import WanModel
from .modules.t5 import T5EncoderModel
from .modules.vae2_2 import Wan2_2_VAE
from .utils.utils import best_output_size


class WanTI2V:

    def __init__(self, config, checkpoint_dir, device_id=0, rank=0, t5_cpu=False):
        self.sample_neg_prompt = 'blur'
        self.text_encoder = T5EncoderModel(
            text_len=512, checkpoint_path=os.path.join(checkpoint_dir, 't5.pth'))
        self.vae = Wan2_2_VAE(vae_pth=os.path.join(checkpoint_dir, 'vae.pth'))
        logging.info(f'Creating WanModel from {checkpoint_dir}')
        self.model = WanModel.from_pretrained(checkpoint_dir)

    def generate(self, input_prompt, sampling_steps=50, n_prompt=''):
        n_prompt = n_prompt or self.sample_neg_prompt
        self.text_encoder([input_prompt], 'cpu')
        self.text_encoder([n_prompt], 'cpu')
        torch.cuda.is_used = True
        timesteps = range(sampling_steps)
        for _, t in enumerate(tqdm(timesteps)):
            self.model(t, context=None, seq_len=1)
        return self.vae.decode([f'{input_prompt}, not {n_prompt}'])[0]
