from .bar import tqdm
from .pipeline import Pipeline


class WanI2V(Pipeline):

    def sample(self, sampling_steps):
        for step in tqdm(range(sampling_steps)):
            self.take_step(step, sampling_steps)
