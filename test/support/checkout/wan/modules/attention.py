import torch

FLASH_ATTN_3_AVAILABLE = False
FLASH_ATTN_2_AVAILABLE = True


def flash_attention(q, k, v, q_lens=None, k_lens=None, dropout_p=0., softmax_scale=None,
                    q_scale=None, causal=False, window_size=(-1, -1), deterministic=False,
                    dtype=torch.bfloat16, version=None):
    assert FLASH_ATTN_2_AVAILABLE
    return v
