"""What the pipelines of all tasks have in common. They differ in their parts and their lengths."""
import logging
import os

import simulation
import torch

from .modules.model import WanModel
from .modules.t5 import T5EncoderModel
from .modules.vae2_1 import Wan2_1_VAE
from .modules.vae2_2 import Wan2_2_VAE
from .utils.utils import Video


class Pipeline:

    def __init__(self, config, checkpoint_dir):
        self.run = simulation.run
        self.sample_neg_prompt = config.sample_neg_prompt
        self.text_encoder = T5EncoderModel(
            text_len=config.text_len,
            dtype=config.t5_dtype,
            device=torch.device('cpu'),
            checkpoint_path=os.path.join(checkpoint_dir, config.t5_checkpoint),
            tokenizer_path=os.path.join(checkpoint_dir, config.t5_tokenizer),
            shard_fn=None)
        vae = Wan2_2_VAE if config.vae_checkpoint == 'Wan2.2_VAE.pth' else Wan2_1_VAE
        self.vae = vae(vae_pth=os.path.join(checkpoint_dir, config.vae_checkpoint))
        logging.info(f'Creating WanModel from {checkpoint_dir}')
        if config.low_noise_checkpoint:
            parts = (config.low_noise_checkpoint, config.high_noise_checkpoint)
            self.models = [WanModel.from_pretrained(checkpoint_dir, subfolder=part) for part in parts]
        else:
            self.models = [WanModel.from_pretrained(checkpoint_dir)]
        self.run.reach('loaded')

    def generate(self, input_prompt, size, sampling_steps, n_prompt=''):
        assert self.run.args.task != 'animate-14B' or self.run.args.refert_num in (1, 5), (
            'refert_num should be 1 or 5.')
        self.text_encoder([input_prompt], 'cpu')
        self.run.negative_prompt = n_prompt or self.sample_neg_prompt
        self.text_encoder([self.run.negative_prompt], 'cpu')
        torch.cuda.use(self.run.frames)
        self.sample(sampling_steps)
        self.vae.decode(self.run)
        return Video(self.run, size)

    def take_step(self, step, steps):
        if step == 0:
            self.run.reach('first-step')
        if step == steps // 2:
            self.run.reach('half-sampled')
        self.run.spend('step')
