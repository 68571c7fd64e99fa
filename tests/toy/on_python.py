def scale(x, factor, offset=None):
    return [factor * item + (0 if offset is None else offset) for item in x]


def halves(x):
    middle = len(x) // 2
    return x[:middle], x[middle:]
