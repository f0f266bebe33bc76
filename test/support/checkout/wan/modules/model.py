from .attention import flash_attention

__all__ = ['WanModel']


class ModelMixin:

    @classmethod
    def from_pretrained(cls, path, **kwargs):
        model = cls()
        model.path = path
        return model


class WanModel(ModelMixin):

    def __call__(self, x, context, seq_len):
        return flash_attention(x, x, x)
