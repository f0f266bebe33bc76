"""The stages of a generation, from the functions and classes of Wan2.2 that do them."""

from .wrapping import Unexpected, class_of, telling, wrap


def hook_text_encoder_built(module, journal):
    wrap(module, 'umt5_xxl', journal, after='text_encoder_built')


def hook_text_encoder(module, journal):
    encoder = class_of(module, 'T5EncoderModel')
    wrap(encoder, '__init__', journal, 'text_encoder_begun', 'text_encoder_loaded')
    wrap(encoder, '__call__', journal, after='prompt_encoded')


def hook_vae(name):
    def hook(module, journal):
        vae = class_of(module, name)
        wrap(vae, '__init__', journal, 'vae_begun', 'vae_loaded')
        wrap(vae, 'decode', journal, 'decoding', 'decoded')

    return hook


def hook_dit(module, journal):
    model = class_of(module, 'WanModel')
    bound = model.from_pretrained
    if type(bound) is not type(journal.tell) or bound.__self__ is not model:
        raise Unexpected('from_pretrained is no class method')
    model.from_pretrained = classmethod(
        telling(bound.__func__, journal, before='dit_begun', after='dit_loaded'))


def hook_pipeline(name):
    def hook(module, journal):
        wrap(class_of(module, name), '__init__', journal, after='pipeline_ready')

    return hook


def hook_saving(module, journal):
    wrap(module, 'save_video', journal, 'saving', 'saved')
