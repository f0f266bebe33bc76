import logging


class Wan2_1_VAE:

    def __init__(self, vae_pth=None):
        logging.info(f'loading {vae_pth}')

    def decode(self, zs):
        return [f'a video of {z}' for z in zs]
