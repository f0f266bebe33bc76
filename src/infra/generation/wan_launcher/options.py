"""Options of the launcher: words before the journal's file, some with a value behind `=`."""


def value_of(name, options):
    """The last one, as argparse has it; None where there is none. `name` ends with `=`."""
    values = [option[len(name) :] for option in options if option.startswith(name)]
    return values[-1] if values else None
