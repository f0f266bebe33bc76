from . import modules
from .image2video import WanI2V
from .text2video import WanT2V
from .textimage2video import WanTI2V
