"""Stands in for decord, which reads videos for s2v and animate. Wan2.2 imports it for every task."""


class VideoReader:
    pass
