"""The PyTorch that a generation finds, which is run in WAN_DIR: prints a JSON object.

    PYTHON bench/gpu/machine.py WAN_DIR
"""

import importlib.util
import json
import platform
import sys


def main(wan_dir):
    sys.path[0] = wan_dir
    found = {'python': platform.python_version()}
    try:
        import torch
    except ImportError as error:
        return {**found, 'missing': str(error)}
    is_there = lambda name: importlib.util.find_spec(name) is not None
    return {
        **found,
        'torch': torch.__version__,
        'cuda': getattr(getattr(torch, 'version', None), 'cuda', None),
        'available': bool(torch.cuda.is_available()),
        'flashAttention': is_there('flash_attn') or is_there('flash_attn_interface'),
    }


print(json.dumps(main(sys.argv[1])))
