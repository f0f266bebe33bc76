"""As much of torch as can be asked for the memory of a GPU."""


class cuda:
    reserved = 0

    @classmethod
    def use(cls, frames):
        """About what a 5B takes on a 24 GB card, where 121 frames are the most that fit."""
        cls.reserved = 14_000_000_000 + 73_000_000 * frames

    @classmethod
    def is_initialized(cls):
        return cls.reserved > 0

    @classmethod
    def max_memory_allocated(cls):
        return cls.reserved - 1_000_000_000

    @classmethod
    def max_memory_reserved(cls):
        return cls.reserved
