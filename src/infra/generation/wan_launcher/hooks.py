"""What is replaced in which module."""

import sys

from . import embeddings, negative_prompt
from .attention import offer_sdpa
from .bars import hook_bar
from .fast_load import hook_fast_load
from .imports import ImportWatch
from .stages import (
    hook_dit,
    hook_pipeline,
    hook_saving,
    hook_text_encoder,
    hook_text_encoder_built,
    hook_vae,
)


def install(journal, options):
    want(options)
    sys.meta_path.insert(0, ImportWatch(journal, hooks(options)))


def want(options):
    """From now on, of what each generation has for itself. `options` are those of `launcher.py`."""
    embeddings.want(options)
    negative_prompt.want(options)


def hooks(options):
    """By module, as of Wan2.2. A hook replaces names in the module that it is given. `options` are
    those of `launcher.py`. The first hook of a module is the innermost."""
    fast_load = [hook_fast_load] if '--fast-load' in options else []
    return {
        'wan': [negative_prompt.refuse_without_pipelines],
        'wan.modules.t5': [
            *fast_load, embeddings.hook_embeddings, hook_text_encoder_built, hook_text_encoder],
        'wan.modules.vae2_1': [hook_vae('Wan2_1_VAE')],
        'wan.modules.vae2_2': [hook_vae('Wan2_2_VAE')],
        'wan.modules.model': [hook_dit],
        'wan.textimage2video': [hook_bar, *pipeline('WanTI2V')],
        'wan.text2video': [hook_bar, *pipeline('WanT2V')],
        'wan.image2video': [hook_bar, *pipeline('WanI2V')],
        'wan.utils.utils': [hook_saving],
        **({'wan.modules.attention': [offer_sdpa]} if '--sdpa' in options else {}),
    }


def pipeline(name):
    return [negative_prompt.hook_negative_prompt(name), hook_pipeline(name)]
