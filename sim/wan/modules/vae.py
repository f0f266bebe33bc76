import logging

import simulation


class VAE:

    def __init__(self, vae_pth):
        logging.info(f'loading {vae_pth}')
        simulation.run.read_checkpoint(vae_pth, 0.03)

    def decode(self, latents):
        run = simulation.run
        run.spend('decode', 0.5)
        run.reach('half-decoded')
        run.spend('decode', 0.5)
