"""Stands in for peft, which adds a LoRA to animate. Wan2.2 imports it for every task."""


class LoraConfig:
    pass


def set_peft_model_state_dict(*_args, **_kwargs):
    raise NotImplementedError('only animate needs peft, and no test runs animate')
