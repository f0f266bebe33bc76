import logging


def umt5_xxl(run):
    run.reach('building-t5')
    run.spend('load', 0.6)


class T5EncoderModel:

    def __init__(self, run, checkpoint_path):
        self.run = run
        umt5_xxl(run)
        logging.info(f'loading {checkpoint_path}')
        run.reach('loading-t5')
        run.read_checkpoint(checkpoint_path, 0.15)

    def __call__(self, texts):
        self.run.spend('encode', 0.5)
