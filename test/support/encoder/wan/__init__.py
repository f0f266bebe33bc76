from .modules import t5
