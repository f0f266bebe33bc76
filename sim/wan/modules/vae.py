import logging


class VAE:

    def __init__(self, run, vae_pth):
        logging.info(f'loading {vae_pth}')
        run.read_checkpoint(vae_pth, 0.03)

    def decode(self, run):
        run.spend('decode', 0.5)
        run.reach('half-decoded')
        run.spend('decode', 0.5)
