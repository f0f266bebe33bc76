import logging


def best_output_size(w, h):
    return w, h


def save_video(tensor, save_file=None, fps=30, suffix='.mp4', nrow=8):
    try:
        with open(save_file, 'w') as file:
            file.write(f'{tensor}')
    except Exception as e:
        logging.info(f'save_video failed, error: {e}')
