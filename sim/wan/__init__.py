"""Wan2.2 as far as its modules, their names and the time they take are concerned."""
import simulation

simulation.run.spend('load', 0.1)
simulation.run.reach('importing')

from . import modules
from .animate import WanAnimate
from .image2video import WanI2V
from .speech2video import WanS2V
from .text2video import WanT2V
from .textimage2video import WanTI2V
