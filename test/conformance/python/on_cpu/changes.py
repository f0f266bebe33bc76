"""What differs from Wan2.2 on a GPU: the device, the size of the model, and packages that are not installed."""
import os
import sys

# The smallest that still have every kind of layer. T5's `dim` stays, for the DiT expects that of the original.
TEXT_ENCODER = {'vocab_size': 500, 'dim_attn': 16, 'dim_ffn': 16, 'num_heads': 2, 'encoder_layers': 2, 'decoder_layers': 2}
VAE = {'wan.modules.vae2_1': {'dim': 2}, 'wan.modules.vae2_2': {'dim': 2, 'dec_dim': 2}}
DIT = {'dim': 48, 'ffn_dim': 96, 'freq_dim': 32, 'num_heads': 4, 'num_layers': 2}

# Part of a prompt. The test of a failure has no other way into the process of a generation.
FAILING_DECODE = '[out of memory in the decode]'


def prepare():
    """Before `wan` is imported: what it asks of other packages while it is."""
    import torch

    # After all others: where the package itself is installed, it is used.
    sys.path.append(os.path.join(os.path.dirname(__file__), 'stand_ins'))

    torch.cuda.current_device = lambda: 0  # default of an argument in modules/t5.py
    torch.cuda.synchronize = lambda device=None: None
    torch.amp.autocast = autocast_on_cpu(torch)
    torch.cuda.amp.autocast = lambda enabled=True, dtype=torch.float16, cache_enabled=True: (
        torch.amp.autocast('cuda', dtype, enabled, cache_enabled))
    accept_torchvision(torch)


def autocast_on_cpu(torch):
    original = torch.amp.autocast

    class autocast(original):
        def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
            # That of a CPU knows half precision only. In single precision everything is done without it.
            if dtype is torch.float32:
                dtype, enabled = None, False
            super().__init__('cpu', dtype or torch.bfloat16, enabled, cache_enabled)

    return autocast


def accept_torchvision(torch):
    """The registry has torchvision for CUDA. Beside PyTorch for a CPU its compiled operators, which Wan2.2 does not
    use, are missing, and it fails to describe them."""
    original = torch.library.register_fake

    def register_fake(op, *args, **kwargs):
        if str(op).startswith('torchvision::') and not hasattr(torch.ops.torchvision, str(op).split('::')[1]):
            return lambda function: function
        return original(op, *args, **kwargs)

    torch.library.register_fake = register_fake


def own_attention(module):
    """Wan2.2's own way without flash-attn, which its model does not take by itself. With WAN_SDPA the launcher puts its
    own in the place of this one."""
    module.flash_attention = module.attention


def small_text_encoder(module):
    original = module.umt5_xxl

    def umt5_xxl(**kwargs):
        return original(**{**TEXT_ENCODER, **kwargs})

    module.umt5_xxl = umt5_xxl


def small_vae(module):
    original = module._video_vae

    def _video_vae(**kwargs):
        return original(**{**kwargs, **VAE[module.__name__]})

    module._video_vae = _video_vae


def failing_decode(module):
    """Raises what PyTorch raises on a GPU that has no room left, when the first frames have been decoded."""
    import torch

    original = module.Decoder3d.forward

    def forward(self, *args, first_chunk=False, **kwargs):
        if not first_chunk and any(FAILING_DECODE in argument for argument in sys.argv):
            raise torch.OutOfMemoryError(
                'CUDA out of memory. Tried to allocate 1.32 GiB. GPU 0 has a total capacity of 23.53 GiB '
                'of which 1.10 GiB is free.')
        return original(self, *args, first_chunk=first_chunk, **kwargs)

    module.Decoder3d.forward = forward


def on_cpu(name):
    """The pipeline sets its own device in its constructor, and asks for a GPU."""
    def change(module):
        import torch

        device = torch.device('cpu')
        getattr(module, name).device = property(lambda self: device, lambda self, _: None)

    return change


def both(first, second):
    def change(module):
        first(module)
        second(module)

    return change


by_module = {
    'wan.modules.attention': own_attention,
    'wan.modules.t5': small_text_encoder,
    'wan.modules.vae2_1': small_vae,
    'wan.modules.vae2_2': both(small_vae, failing_decode),
    'wan.textimage2video': on_cpu('WanTI2V'),
    'wan.text2video': on_cpu('WanT2V'),
    'wan.image2video': on_cpu('WanI2V'),
}
