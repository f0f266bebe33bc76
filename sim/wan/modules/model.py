import os

from ..bar import tqdm


class WanModel:

    @classmethod
    def from_pretrained(cls, path, subfolder, config):
        path = os.path.join(path, subfolder)
        index = os.path.join(path, 'diffusion_pytorch_model.safetensors.index.json')
        if config.checks_checkpoint and not os.path.exists(index):
            raise OSError(
                f'Error no file named diffusion_pytorch_model.bin found in directory {path}.')
        shards = config.task.shards
        share = 0.12 / len(config.task.dit_folders) / shards
        with tqdm(total=shards, desc='Loading checkpoint shards') as bar:
            for _ in range(shards):
                config.spend('load', share)
                bar.update()
        return cls()
