"""Runs generate.py as if it were run directly, and writes down beside it how far it has come.

    python3 launcher.py [--sdpa] [--fast-load] [--embeddings=BYTES:DIRECTORY]
                        [--negative-prompt=TEXT] EVENTS generate.py ARGUMENT ...

Nothing of a checkout of Wan2.2 is changed: names in its modules are wrapped when they have just been
imported. EVENTS is a file of JSON lines, `{"event": ..., "at": seconds since 1970, ...}`; stdout,
stderr, tracebacks, exit status and signals are the script's own.

    started
    imported               Wan2.2 and its libraries, torch among them
    text_encoder_begun     is being made
    text_encoder_built     has been made; the script reads its checkpoint next
    text_encoder_loaded, vae_begun, vae_loaded, dit_begun, dit_loaded
    pipeline_ready         what a prompt needs is there
    embedding              with found: 1 where that of a prompt was kept, 0 where it was made
    prompt_encoded         once for the prompt, once for the negative one
    sampling, step         with total, and step with how many are done
    decoding, decoded, saving, saved
    memory                 the most bytes of the GPU so far: in tensors, and held by torch for them
    sdpa                   PyTorch's attention stands in for flash-attn
    fallback               with why, and part: something is not as it is known to be

With --sdpa PyTorch's attention stands in for a missing flash-attn, and with --fast-load the text encoder
is mapped from its file. Up to BYTES of embeddings of prompts are kept in DIRECTORY. TEXT replaces the negative prompt of the model's configuration; a checkout that
cannot take it is an error, with status 2. Options that are not known do nothing.

No job may fail because of this file. What is not as expected is left as it is, and the service
makes do with the script's output.

Starting is part of every job, hence no more imports than Python itself has made. The modules of
`wan_launcher` are all read before the script, so that an upgrade may replace them meanwhile; none of
them is in the script's search path or in its tracebacks.
"""

import os
import sys


def main():
    interpreter, own_arguments = interpreter_arguments(), sys.argv[1:]
    options, (events, *command) = split(own_arguments)
    try:
        hooks, journal, script = own_modules()
        path, code = script.compile_script(command[0])
    except Exception:
        if any(option.startswith('--negative-prompt=') for option in options):
            raise
        # Python itself shall say what is wrong with the script.
        os.execv(sys.executable, [*interpreter, *command])
    module = script.become(path, command, interpreter)
    told = journal.Journal(events)
    told.tell('started')
    hooks.install(told, options)
    script.run(code, module, told)


def split(arguments):
    """Options are those before the first argument that is none."""
    number = next(i for i, argument in enumerate(arguments) if not argument.startswith('--'))
    return arguments[:number], arguments[number:]


def interpreter_arguments():
    """What comes before this file on the command line. Python 3.9 does not know its options."""
    whole = getattr(sys, 'orig_argv', None)
    return whole[:-len(sys.argv)] if whole else [sys.executable]


def own_modules():
    """Those beside this file, wherever Python would look for modules."""
    writes_bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # where we are installed is no place to write to
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    try:
        from wan_launcher import hooks, journal, script
    finally:
        del sys.path[0]
        sys.dont_write_bytecode = writes_bytecode
    return hooks, journal, script


if __name__ == '__main__':
    main()
