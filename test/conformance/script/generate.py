"""Stands in for Wan2.2's generate.py, which its package does not have: the same command line and the same lines of
output, as far as the service uses them, for ti2v-5B. Everything else is the package's code."""
import argparse
import logging
import random
import sys

import torch
import wan
from PIL import Image
from wan.configs import MAX_AREA_CONFIGS, SIZE_CONFIGS, SUPPORTED_SIZES, WAN_CONFIGS
from wan.utils.utils import save_video, str2bool


def main():
    args = parse()
    logging.basicConfig(level=logging.INFO, format='[%(asctime)s] %(levelname)s: %(message)s',
                        handlers=[logging.StreamHandler(sys.stdout)])
    config = WAN_CONFIGS[args.task]
    logging.info(f'Generation job args: {args}')
    logging.info(f'Generation model config: {config}')
    logging.info(f'Input prompt: {args.prompt}')
    image = None
    if args.image is not None:
        image = Image.open(args.image).convert('RGB')
        logging.info(f'Input image: {args.image}')

    logging.info('Creating WanTI2V pipeline.')
    pipeline = wan.WanTI2V(config=config, checkpoint_dir=args.ckpt_dir, device_id=0, rank=0, t5_cpu=args.t5_cpu,
                           convert_model_dtype=args.convert_model_dtype)
    logging.info('Generating video ...')
    video = pipeline.generate(
        args.prompt, img=image, size=SIZE_CONFIGS[args.size], max_area=MAX_AREA_CONFIGS[args.size],
        frame_num=args.frame_num, shift=args.sample_shift, sample_solver=args.sample_solver,
        sampling_steps=args.sample_steps, guide_scale=args.sample_guide_scale, seed=args.base_seed,
        offload_model=args.offload_model, n_prompt=args.negative_prompt)
    logging.info(f'Saving generated video to {args.save_file}')
    save_video(tensor=video[None], save_file=args.save_file, fps=config.sample_fps, nrow=1, normalize=True,
               value_range=(-1, 1))
    torch.cuda.synchronize()
    logging.info('Finished.')


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument('--task', choices=['ti2v-5B'], required=True)
    parser.add_argument('--size', choices=list(SUPPORTED_SIZES['ti2v-5B']), required=True)
    parser.add_argument('--frame_num', type=int)
    parser.add_argument('--ckpt_dir', required=True)
    parser.add_argument('--offload_model', type=str2bool, default=True)
    parser.add_argument('--t5_cpu', action='store_true')
    parser.add_argument('--convert_model_dtype', action='store_true')
    parser.add_argument('--save_file', required=True)
    parser.add_argument('--prompt', required=True)
    # Not an option of the original, whose pipeline takes one all the same.
    parser.add_argument('--negative_prompt', default='')
    parser.add_argument('--base_seed', type=int, default=-1)
    parser.add_argument('--image')
    parser.add_argument('--sample_solver', choices=['unipc', 'dpm++'], default='unipc')
    parser.add_argument('--sample_steps', type=int)
    parser.add_argument('--sample_shift', type=float)
    parser.add_argument('--sample_guide_scale', type=float)
    args = parser.parse_args()

    config = WAN_CONFIGS[args.task]
    for name in ('frame_num', 'sample_steps', 'sample_shift', 'sample_guide_scale'):
        if getattr(args, name) is None:
            setattr(args, name, config[name])
    if args.base_seed < 0:
        args.base_seed = random.randint(0, sys.maxsize)
    return args


if __name__ == '__main__':
    main()
