import argparse
import logging
import os
import sys

import torch
import wan
from wan.utils.utils import save_video


def _parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument('--task', choices=['t2v-A14B', 'i2v-A14B', 'ti2v-5B'])
    parser.add_argument('--sample_steps', type=int, default=4)
    parser.add_argument('--save_file')
    parser.add_argument('--prompt')
    return parser.parse_args()


def _init_logging():
    logging.basicConfig(
        level=logging.INFO,
        format='%(levelname)s: %(message)s',
        handlers=[logging.StreamHandler(stream=sys.stdout)])


def generate(args):
    _init_logging()
    logging.info(f'Input prompt: {args.prompt}')
    kind = {'t2v-A14B': wan.WanT2V, 'i2v-A14B': wan.WanI2V, 'ti2v-5B': wan.WanTI2V}[args.task]
    pipeline = kind(config=None, checkpoint_dir='/ckpt', device_id=0)
    logging.info('Generating video ...')
    video = pipeline.generate(args.prompt, sampling_steps=args.sample_steps)
    logging.info(f'Saving generated video to {args.save_file}')
    save_video(tensor=video, save_file=args.save_file, fps=24, nrow=1)
    torch.cuda.synchronize()
    logging.info('Finished.')


if __name__ == '__main__':
    args = _parse_args()
    generate(args)
