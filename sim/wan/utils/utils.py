"""Saving, and the picture that is saved."""
import logging
import os
import subprocess
from collections import namedtuple

Video = namedtuple('Video', 'run size')

VIDEO_EXTENSIONS = ('.mp4', '.mov', '.mkv', '.avi', '.webm', '.wmv', '.mpg', '.mpeg', '.h264')


def save_video(tensor, save_file, fps):
    """Like the real one it swallows whatever goes wrong: the run goes on and exits 0."""
    run, (width, height) = tensor.run, tensor.size
    if 'wrong-size' in run.faults:
        width, height = width // 32 * 16, height // 32 * 16
    frames = max(1, run.frames // 2) if 'truncated' in run.faults else run.frames
    try:
        run.reach('saving')
        if 'garbage-file' in run.faults:
            with open(save_file, 'wb') as file:
                file.write(b'This is not a video.\n' * 1000)
        elif 'no-file-silent' not in run.faults:
            write_video(run, save_file, width, height, frames, fps)
    except Exception as error:
        logging.info(f'save_video failed, error: {error}')


def write_video(run, save_file, width, height, frames, fps):
    path = os.path.abspath(save_file)
    refuse_bad_path(path)
    command = [
        ffmpeg(), '-y', '-f', 'rawvideo', '-vcodec', 'rawvideo',
        '-s', f'{width}x{height}', '-pix_fmt', 'rgb24', '-r', f'{fps:.02f}', '-i', '-',
        '-an', '-vcodec', 'libx264', '-preset', 'ultrafast', '-threads', '2',
        '-pix_fmt', 'yuv420p', '-crf', '10', '-v', 'warning', path]
    encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               preexec_fn=own_process_group())
    try:
        for number, parts in enumerate(picture(run, width, height, frames)):
            if number == frames // 2:
                run.reach('half-saved')
            for part in parts:
                encoder.stdin.write(part)
    except OSError as error:
        raise OSError(f'{error}\n\nFFMPEG COMMAND:\n{" ".join(command)}\n\nFFMPEG STDERR OUTPUT:\n')
    except KeyboardInterrupt:
        encoder.kill()
        raise
    finally:
        # Closes its stdin and waits. As in imageio nobody asks how the encoder ended.
        encoder.communicate()


def ffmpeg():
    return os.environ.get('IMAGEIO_FFMPEG_EXE') or 'ffmpeg'


def refuse_bad_path(path):
    """imageio's ways to refuse a file name."""
    folder, extension = os.path.dirname(path), os.path.splitext(path)[1].lower()
    if not os.path.exists(folder):
        raise FileNotFoundError(2, 'The directory does not exist', folder)
    if not extension:
        raise RuntimeError(None)
    if extension not in VIDEO_EXTENSIONS:
        raise ValueError(f'Could not find a backend to open `{path}`` with iomode `wI`.')


def own_process_group():
    """imageio-ffmpeg keeps Ctrl-C from its encoder by giving it a process group of its own, so
    that a signal to the script's group does not reach it either, unless this variable is set."""
    is_shared = os.environ.get('IMAGEIO_FFMPEG_NO_PREVENT_SIGINT', '').lower()
    return os.setpgrp if is_shared in ('', '0', 'false', 'no') else None


# --- The picture -------------------------------------------------------------------------------

def picture(run, width, height, frames):
    """Every frame as a few stretches of bytes: a window gliding down a tall backdrop, and over its
    middle a panel with text. Nothing is computed per pixel and frame, so Python is fast enough."""
    rows = memoryview(backdrop(width, height, run.args.base_seed))
    panel = render_panel(run, width, height)
    row_length = 3 * width
    panel_top = (height - len(panel) // row_length) // 2 * row_length
    panel_end = panel_top + len(panel)
    for number in range(frames):
        top = number * 4 % height * row_length
        window = rows[top:top + height * row_length]
        yield window[:panel_top], panel, window[panel_end:]


def backdrop(width, height, seed):
    """Diagonal stripes, twice as high as a frame, that repeat after its height. The seed gives the
    colours. No channel is darker than 80: padding is black, and a picture never is."""
    def wave(position):
        return 80 + int(160 * abs(2 * (position % 1) - 1))

    hues = [(seed >> shift) % 64 / 64 for shift in (0, 6, 12)]
    period = b''.join(
        bytes(wave(x / height + hue) for hue in hues) for x in range(height))
    line = period * (2 + width // height)
    return b''.join(line[3 * y:3 * (y + width)] for y in range(height)) * 2


def render_panel(run, width, height):
    """The prompt, the GPU and the seed as rows of pixels, drawn once by a second ffmpeg: it may
    fail on a missing font or filter, and the video then just has no text."""
    import tempfile
    font_size = max(width, height) // 40
    panel_height = 10 * font_size
    text = panel_text(run, columns=int(width / font_size / 0.6) - 3)
    with tempfile.TemporaryFile() as file:
        file.write(text.encode(errors='replace'))
        file.flush()
        # The prompt is only ever in the file: in the filter it could say anything.
        source = (f'color=c=0x283060:s={width}x{panel_height},'
                  f'drawtext=textfile=/dev/fd/{file.fileno()}:expansion=none:font=monospace:'
                  f'fontcolor=white:fontsize={font_size}:x={font_size}:y=(h-text_h)/2')
        command = [ffmpeg(), '-nostdin', '-v', 'quiet', '-f', 'lavfi', '-i', source,
                   '-frames:v', '1', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-']
        try:
            drawn = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   pass_fds=[file.fileno()]).stdout
        except OSError:
            return b''
    return drawn if len(drawn) == 3 * width * panel_height else b''


def panel_text(run, columns):
    import textwrap
    gpu = os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')
    facts = f'GPU {gpu}  seed {run.args.base_seed}'
    return '\n'.join(
        line for text in (facts, run.args.prompt)
        for line in textwrap.wrap(text, columns, max_lines=5, placeholder=' …'))
