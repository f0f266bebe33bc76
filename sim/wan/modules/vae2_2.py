from .vae import VAE


class Wan2_2_VAE(VAE):
    pass
