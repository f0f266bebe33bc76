"""Runs generate.py as if it were run directly, and writes down beside it how far it has come.

    python3 launcher.py [--sdpa] EVENTS generate.py ARGUMENT ...

Nothing of a checkout of Wan2.2 is changed: names in its modules are wrapped when they have just been
imported. EVENTS is a file of JSON lines, `{"event": ..., "at": seconds since 1970, ...}`; stdout,
stderr, tracebacks, exit status and signals are the script's own.

    started
    imported               Wan2.2 and its libraries, torch among them
    text_encoder_begun     is being made, with random weights
    text_encoder_built     has been made; its checkpoint is read next
    text_encoder_loaded, vae_begun, vae_loaded, dit_begun, dit_loaded
    pipeline_ready         what a prompt needs is there
    prompt_encoded         once for the prompt, once for the negative one
    sampling, step         with total, and step with how many are done
    decoding, decoded, saving, saved
    memory                 the most bytes of the GPU so far: in tensors, and held by torch for them
    sdpa                   PyTorch's attention stands in for flash-attn
    fallback               with why: something is not as it is known to be

No job may fail because of this file. What is not as expected is left as it is, and the service
makes do with the script's output.

Starting is part of every job, hence no more imports than Python itself has made. One file because
a module beside it would be in the script's `sys.modules`, in its search path and, unless hidden too,
in its tracebacks; and because it is read at once, also while an upgrade replaces the files.
"""

import os
import sys
import time


def main():
    launcher_arguments, own_arguments = interpreter_arguments(), sys.argv[1:]
    is_sdpa_wanted = own_arguments[0] == '--sdpa'
    events, *command = own_arguments[is_sdpa_wanted:]
    try:
        code, module = prepare(command[0])
    except Exception:
        # Python itself shall say what is wrong with the script.
        os.execv(sys.executable, [*launcher_arguments, *command])
    sys.argv[:] = command
    if hasattr(sys, 'orig_argv'):
        sys.orig_argv = [*launcher_arguments, *command]
    sys.modules['__main__'] = module
    if not getattr(sys.flags, 'safe_path', False):
        sys.path[0] = os.path.dirname(os.path.realpath(command[0]))

    journal = Journal(events)
    journal.tell('started')
    sys.meta_path.insert(0, ImportWatch(journal, hooks(is_sdpa_wanted)))
    try:
        exec(code, module.__dict__)
    except BaseException:
        hide_launcher()
        raise
    finally:
        tell_memory(journal)


def interpreter_arguments():
    """What comes before this file on the command line. Python 3.9 does not know its options."""
    whole = getattr(sys, 'orig_argv', None)
    return whole[:-len(sys.argv)] if whole else [sys.executable]


def prepare(script):
    """The script compiled, and a module for it like the one that Python makes for a script."""
    path = os.path.join(os.getcwd(), script)
    with open(path, 'rb') as file:
        code = compile(file.read(), path, 'exec', dont_inherit=True)
    module = type(sys)('__main__')
    ours = sys.modules['__main__']
    module.__file__ = path
    module.__cached__ = None
    module.__builtins__ = ours.__builtins__
    module.__loader__ = type(ours.__loader__)('__main__', path)
    if '__annotations__' in ours.__dict__:
        module.__annotations__ = {}
    return code, module


class Journal:
    """Appends events, and gives up whatever cannot be written.

    The file is opened for each of them: a script may close descriptors that are none of its own,
    and our next line would end up in whichever file got the number."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.pid = os.getpid()
        self.is_cut = False

    def tell(self, event, **details):
        if os.getpid() != self.pid:
            return  # a fork of the script
        try:
            known = {'event': event, 'at': round(time.time(), 6), **details}
            line = '{' + ','.join(f'"{key}":{as_json(value)}' for key, value in known.items()) + '}\n'
            self.append((self.is_cut * '\n' + line).encode())
        except Exception:
            pass

    def append(self, line):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        file = os.open(self.path, flags, 0o644)
        try:
            self.is_cut = os.write(file, line) < len(line)
        finally:
            os.close(file)


def as_json(value):
    """Of numbers and plain text: what would have to be escaped is left out."""
    if isinstance(value, str):
        plain = (c for c in value[:200] if c.isascii() and c.isprintable() and c not in '"\\')
        return f'"{"".join(plain)}"'
    return repr(value)


# --- The traceback of a script that fails -------------------------------------------------------

def hide_launcher():
    """An exception that is on its way out of the script shall look as it would without us."""
    show = sys.excepthook

    def excepthook(kind, error, traceback):
        try:
            forget_launcher(error)
            traceback = error.__traceback__
        except Exception:
            pass
        show(kind, error, traceback)

    sys.excepthook = excepthook


def forget_launcher(error):
    """Takes our frames out of its traceback, and of those of all that it followed from."""
    left, seen = [error], set()
    while left:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        error.__traceback__ = without_launcher(error.__traceback__)
        left += [error.__cause__, error.__context__]


def without_launcher(traceback):
    kept = []
    while traceback:
        file = traceback.tb_frame.f_code.co_filename
        if file == main.__code__.co_filename:
            # Python leaves out the frames of an import, but not where ours is among them.
            while kept and kept[-1].tb_frame.f_code.co_filename.startswith('<frozen importlib'):
                kept.pop()
        else:
            kept.append(traceback)
        traceback = traceback.tb_next
    for one, following in zip(kept, [*kept[1:], None]):
        one.tb_next = following
    return kept[0] if kept else None


# --- Getting hold of modules --------------------------------------------------------------------

class Unexpected(Exception):
    """A checkout that is not as we know it."""


class ImportWatch:
    """Calls a hook when its module has just been imported, by whomever and whenever."""

    def __init__(self, journal, hooks):
        self.journal = journal
        self.hooks = hooks
        self.missed = set(hooks)

    def find_spec(self, name, path=None, target=None):
        if name not in self.hooks:
            return None
        try:
            for finder in sys.meta_path:
                spec = finder is not self and finder.find_spec(name, path, target)
                if spec:
                    self.follow(spec.loader, name)
                    return spec
        except Exception as error:
            self.journal.tell('fallback', why=f'{name}: {error}')
        return None

    def follow(self, loader, name):
        """A loader is made for one import, and its exec_module is its own again after that."""
        execute = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            execute(module)
            self.missed.discard(name)
            for hook in self.hooks[name]:
                try:
                    hook(module, self.journal)
                except Exception as error:
                    self.journal.tell('fallback', why=f'{name}: {error}')
            if name == 'wan':
                self.end()

        loader.exec_module = exec_module

    def end(self):
        """The whole of Wan2.2 has been imported, but for what only another task needs."""
        self.journal.tell('imported')
        if self.missed:
            self.journal.tell('fallback', why=f'not imported: {", ".join(sorted(self.missed))}')


def hooks(is_sdpa_wanted):
    """By module, as of Wan2.2. A hook replaces names in the module that it is given."""
    return {
        'wan': [],
        'wan.modules.t5': [hook_text_encoder_built, hook_text_encoder],
        'wan.modules.vae2_1': [hook_vae('Wan2_1_VAE')],
        'wan.modules.vae2_2': [hook_vae('Wan2_2_VAE')],
        'wan.modules.model': [hook_dit],
        'wan.textimage2video': [hook_bar, hook_pipeline('WanTI2V')],
        'wan.text2video': [hook_bar, hook_pipeline('WanT2V')],
        'wan.image2video': [hook_bar, hook_pipeline('WanI2V')],
        'wan.utils.utils': [hook_saving],
        **({'wan.modules.attention': [offer_sdpa]} if is_sdpa_wanted else {}),
    }


# --- The hooks ----------------------------------------------------------------------------------

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


def hook_bar(module, journal):
    module.tqdm = watched(class_of(module, 'tqdm'), journal)


def class_of(module, name):
    found = getattr(module, name)
    if not isinstance(found, type):
        raise Unexpected(f'{name} is no class')
    return found


def wrap(owner, name, journal, before=None, after=None):
    original = getattr(owner, name)
    if type(original) is not type(main):
        raise Unexpected(f'{name} is no function')
    setattr(owner, name, telling(original, journal, before, after))


def telling(original, journal, before, after):
    """A function that does the same and tells when it begins and when it has returned."""

    def wrapper(*args, **kwargs):
        if before:
            journal.tell(before)
        result = original(*args, **kwargs)
        if after:
            journal.tell(after)
        if after == 'decoded':
            tell_memory(journal)
        return result

    for name in ('__module__', '__name__', '__qualname__', '__doc__'):
        setattr(wrapper, name, getattr(original, name))
    wrapper.__dict__.update(original.__dict__)
    wrapper.__wrapped__ = original  # so that signatures stay what they are
    return wrapper


def watched(original, journal):
    """tqdm itself in every respect, which also tells the steps that are done."""

    class Bar(original):
        def __init__(self, *args, **kwargs):
            original.__init__(self, *args, **kwargs)
            self._told_steps = 0
            journal.tell('sampling', total=self.total or 0)

        def __iter__(self):
            items = original.__iter__(self)
            done = 0
            try:
                for item in items:
                    yield item
                    done += 1
                    tell_step(self, done)
            finally:
                if hasattr(items, 'close'):
                    items.close()

        def update(self, n=1):
            result = original.update(self, n)
            tell_step(self, self.n)
            return result

    def tell_step(bar, done):
        if done > getattr(bar, '_told_steps', 0):
            bar._told_steps = done
            journal.tell('step', step=done, total=bar.total or 0)

    for name in ('__module__', '__name__', '__qualname__', '__doc__'):
        setattr(Bar, name, getattr(original, name))
    return Bar


def tell_memory(journal):
    """Only asks a CUDA that is in use already."""
    try:
        cuda = sys.modules['torch'].cuda
        if cuda.is_initialized():
            journal.tell('memory', allocated=int(cuda.max_memory_allocated()),
                         reserved=int(cuda.max_memory_reserved()))
    except Exception:
        pass


# --- Attention without flash-attn ---------------------------------------------------------------

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


if __name__ == '__main__':
    main()
