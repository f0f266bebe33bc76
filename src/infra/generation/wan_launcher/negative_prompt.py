"""A negative prompt of the job's own, in place of that of the model's configuration.

The script has no option for it. Pipelines of Wan2.2 use their `sample_neg_prompt` where nobody passes one to
`generate`, as the script never does. A job that would be generated without its negative prompt is refused.
"""

import sys

from .options import value_of
from .wrapping import class_of, disguise, function_of

OPTION = '--negative-prompt='


class Wanted:
    text = None
    is_set = False
    pipelines = 0  # that can be given one, as far as they have been imported


wanted = Wanted()


def want(options):
    """From now on, for the pipelines that this process makes. `options` are those of `launcher.py`."""
    wanted.text = value_of(OPTION, options)
    wanted.is_set = False


def hook_negative_prompt(name):
    def hook(module, journal):
        pipeline = class_of(module, name)
        original = function_of(pipeline, '__init__')

        def __init__(self, *args, **kwargs):
            original(self, *args, **kwargs)
            give_to(self)

        pipeline.__init__ = disguise(__init__, original)
        wanted.pipelines += 1

    return hook


def give_to(pipeline):
    if wanted.text is None:
        return
    if not isinstance(getattr(pipeline, 'sample_neg_prompt', None), str):
        refuse()
    pipeline.sample_neg_prompt = wanted.text
    wanted.is_set = True


def refuse_without_pipelines(module, journal):
    """When all of Wan2.2 has been imported: sooner than a video without it is made."""
    if wanted.text is not None and wanted.pipelines == 0:
        refuse()


def refuse_unless_set():
    """When the script has ended."""
    if wanted.text is not None and not wanted.is_set:
        refuse()


def refuse():
    """As argparse refuses an option, so that the job is not tried again."""
    sys.stderr.write('generate.py: error: this checkout has no sample_neg_prompt for the negative_prompt\n')
    sys.exit(2)
