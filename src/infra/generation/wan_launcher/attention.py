"""Attention where flash-attn is missing."""


def offer_sdpa(module, journal):
    """Wan2.2 asks for flash-attn by name, and fails at its first step where there is none."""
    if module.FLASH_ATTN_2_AVAILABLE or module.FLASH_ATTN_3_AVAILABLE:
        return
    module.flash_attention = instead_of(module.flash_attention, module.torch)
    journal.tell('sdpa')


def instead_of(original, torch):
    """The same by PyTorch's means: tensors are [batch, length, heads, channels], only the first
    `k_lens` keys of a sample count, and all is done in half precision. What the model does not ask
    for (a causal mask, a window) is left to the original, which says what it lacks."""
    half_types = (torch.float16, torch.bfloat16)

    def flash_attention(q, k, v, q_lens=None, k_lens=None, dropout_p=0., softmax_scale=None,
                        q_scale=None, causal=False, window_size=(-1, -1), deterministic=False,
                        dtype=torch.bfloat16, version=None):
        if causal or tuple(window_size) != (-1, -1):
            return original(q, k, v, q_lens, k_lens, dropout_p, softmax_scale, q_scale, causal,
                            window_size, deterministic, dtype, version)
        wanted = q.dtype
        v = v if v.dtype in half_types else v.to(dtype)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if q_scale is not None:
            q = q * q_scale
        if k.size(2) != q.size(2):
            shared_by = q.size(2) // k.size(2)
            k, v = (t.repeat_interleave(shared_by, dim=2) for t in (k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))

        def attend(q, k, v):
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout_p, scale=softmax_scale)

        lengths = [k.size(2)] * k.size(0) if k_lens is None else [int(n) for n in k_lens]
        if min(lengths) == k.size(2):
            x = attend(q, k, v)
        else:
            x = torch.cat([attend(q[i:i + 1], k[i:i + 1, :, :n], v[i:i + 1, :, :n])
                           for i, n in enumerate(lengths)])
        return x.transpose(1, 2).contiguous().type(wanted)

    return flash_attention
