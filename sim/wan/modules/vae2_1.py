from .vae import VAE


class Wan2_1_VAE(VAE):
    pass
