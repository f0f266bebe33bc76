import os

import simulation

from ..bar import tqdm
from ..configs import WAN_CONFIGS


class WanModel:

    @classmethod
    def from_pretrained(cls, path, subfolder=''):
        run = simulation.run
        config = WAN_CONFIGS[run.task]
        path = os.path.join(path, subfolder)
        index = os.path.join(path, 'diffusion_pytorch_model.safetensors.index.json')
        if run.checks_checkpoint and not os.path.exists(index):
            raise OSError(
                f'Error no file named diffusion_pytorch_model.bin found in directory {path}.')
        models = 2 if config.low_noise_checkpoint else 1
        share = 0.12 / models / config.shards
        with tqdm(total=config.shards, desc='Loading checkpoint shards') as bar:
            for _ in range(config.shards):
                run.spend('load', share)
                bar.update()
        return cls()

    def eval(self):
        return self

    def requires_grad_(self, wanted):
        return self

    def to(self, dtype):
        return self
