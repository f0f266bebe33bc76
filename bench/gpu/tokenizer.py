"""A tokenizer for random weights: a token for each letter. The published one is not needed for them."""

import json
import string

FOLDER = 'google/umt5-xxl/'
SPECIAL = {'pad_token': '<pad>', 'eos_token': '</s>', 'unk_token': '<unk>'}


def tokenizer_files(lengths):
    """The content of each file by its path, made as long as `lengths` says: blanks in JSON mean nothing."""
    texts = {
        'tokenizer.json': json.dumps(model()),
        'tokenizer_config.json': json.dumps({
            'tokenizer_class': 'PreTrainedTokenizerFast', 'model_max_length': 512, **SPECIAL}),
        'special_tokens_map.json': json.dumps(SPECIAL),
        'spiece.model': '',
    }
    return {
        FOLDER + name: text.encode().ljust(lengths.get(FOLDER + name, 0))
        for name, text in texts.items()
    }


def model():
    """In the format of Hugging Face's tokenizers."""
    letters = string.printable[:95]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL.values(), *letters])}
    added = [
        {'id': vocabulary[token], 'content': token, 'single_word': False, 'lstrip': False,
         'rstrip': False, 'normalized': False, 'special': True}
        for token in SPECIAL.values()
    ]
    end = SPECIAL['eos_token']
    with_end = lambda kinds: [
        *({'Sequence': {'id': kind, 'type_id': 0}} for kind in kinds),
        {'SpecialToken': {'id': end, 'type_id': 0}},
    ]
    return {
        'version': '1.0',
        'truncation': None,
        'padding': None,
        'added_tokens': added,
        'normalizer': None,
        'pre_tokenizer': {'type': 'Split', 'pattern': {'Regex': '.'}, 'behavior': 'Isolated', 'invert': False},
        'post_processor': {
            'type': 'TemplateProcessing',
            'single': with_end('A'),
            'pair': with_end('AB'),
            'special_tokens': {end: {'id': end, 'ids': [vocabulary[end]], 'tokens': [end]}},
        },
        'decoder': None,
        'model': {'type': 'WordLevel', 'vocab': vocabulary, 'unk_token': SPECIAL['unk_token']},
    }
