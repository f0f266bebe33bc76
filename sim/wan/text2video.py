from .bar import tqdm
from .pipeline import Pipeline


class WanT2V(Pipeline):

    def sample(self, sampling_steps):
        for step in tqdm(range(sampling_steps)):
            self.take_step(step, sampling_steps)
