def scale(x, factor, offset=None):
    return x * factor if offset is None else x * factor + offset


def only_numpy():
    return "numpy"


def halves(x):
    middle = len(x) // 2
    return x[:middle], x[middle:]
