"""How long Wan2.2's text encoder takes to load, and how much memory: by the script's own way, and by FAST_LOAD.

    PYTHON bench/fast_load.py WAN_DIR [RUNS]

PYTHON is one with torch 2.1 or newer and NumPy; no GPU is needed. WAN_DIR is a checkout of Wan2.2, or the unpacked
package wan22 2.2.11, whose `wan/modules/t5.py` is the same file. The encoder is the real one with fewer layers (187 M
parameters of random numbers), written to a temporary file first. Each run is a process of its own. Prints a table.
"""

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types

KNOWN_T5 = '8b0cebf3192c542f92a344255a06c203df3ba24160715899a055cc8de0cd930f'
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMALLER = {
    'vocab_size': 32000, 'dim': 1024, 'dim_attn': 1024, 'dim_ffn': 2816, 'num_heads': 16,
    'encoder_layers': 12, 'decoder_layers': 1,
}


def main(wan_dir, runs='5'):
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, 't5.pth')
        one = lambda how: json.loads(
            subprocess.check_output([sys.executable, __file__, '--one', how, wan_dir, file]))
        made = one('make')
        print(f'torch {made["torch"]}, {made["parameters"] / 1e6:.0f} M parameters, {runs} runs each,'
              f' t5.py {"as of Wan2.2 at 42bf4cf" if made["isKnown"] else "of another version"}\n')
        own = [one('own') for _ in range(int(runs))]
        fast = [one('fast') for _ in range(int(runs))]
    rows = [('own way', own), ('FAST_LOAD', fast)]
    print('| text encoder | load, median | slowest | peak memory |\n| --- | ---: | ---: | ---: |')
    for name, all_runs in rows:
        seconds = [run['seconds'] for run in all_runs]
        print(f'| {name} | {statistics.median(seconds):.2f} s | {max(seconds):.2f} s '
              f'| {max(run["peakMb"] for run in all_runs)} MB |')
    ratio = statistics.median(r['seconds'] for r in own) / statistics.median(r['seconds'] for r in fast)
    memory = max(run['peakMb'] for run in fast) / max(run['peakMb'] for run in own)
    is_same = len({run['sha256'] for run in own + fast}) == 1
    print(f'\n{ratio:.0f} times faster, {memory:.2f} of the peak memory,'
          f' output {"the same bits" if is_same else "DIFFERENT"}')
    return 0 if is_same else 1


def one_run(how, wan_dir, file):
    import torch

    torch.set_num_threads(1)
    t5, is_known = t5_of(wan_dir, torch)
    result = {'torch': torch.__version__, 'isKnown': is_known}
    arguments = {'encoder_only': True, 'return_tokenizer': False, 'dtype': torch.bfloat16}
    if how == 'make':
        model = t5.umt5_xxl(device='cpu', **arguments)
        torch.save(model.state_dict(), file)
        return {**result, 'parameters': sum(p.numel() for p in model.parameters())}
    if how == 'fast':
        sys.path.insert(0, os.path.join(ROOT, 'src', 'infra', 'generation'))
        from wan_launcher.fast_load import hook_fast_load

        hook_fast_load(t5, NoFallback())
    began = time.perf_counter()
    encoder = t5.T5EncoderModel(
        text_len=512, dtype=torch.bfloat16, device=torch.device('cpu'), checkpoint_path=file,
        tokenizer_path='none', shard_fn=None)
    result['seconds'] = time.perf_counter() - began
    result['peakMb'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with torch.no_grad():
        encoded = encoder.model(torch.arange(64).unsqueeze(0), torch.ones(1, 64))
    result['sha256'] = hashlib.sha256(encoded.float().numpy().tobytes()).hexdigest()
    return result


class NoFallback:
    def tell_fallback(self, part, error):
        raise SystemExit(f'{part}: {error}')


def t5_of(wan_dir, torch):
    """The module without its package, which imports all of Wan2.2 and a tokenizer."""
    path = os.path.join(wan_dir, 'wan', 'modules', 't5.py')
    for name in ('wan', 'wan.modules'):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    tokenizers = types.ModuleType('wan.modules.tokenizers')
    tokenizers.HuggingfaceTokenizer = lambda **_: None
    sys.modules[tokenizers.__name__] = tokenizers
    torch.cuda.current_device = lambda: 0  # asked for a default while it is imported
    t5 = types.ModuleType('wan.modules.t5')
    t5.__package__ = 'wan.modules'
    with open(path, 'rb') as source:
        code = source.read()
    exec(compile(code, path, 'exec'), t5.__dict__)
    whole = t5._t5
    t5._t5 = lambda name, **kwargs: whole(name, **{**kwargs, **SMALLER})
    return t5, hashlib.sha256(code).hexdigest() == KNOWN_T5


if __name__ == '__main__':
    if sys.argv[1:2] == ['--one']:
        print(json.dumps(one_run(*sys.argv[2:])))
    elif len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    else:
        sys.exit(main(*sys.argv[1:]))
