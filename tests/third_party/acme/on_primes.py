from math import isqrt

from acme import AcmeArray


def below(limit: int) -> AcmeArray:
    return AcmeArray(n for n in range(2, limit) if all(n % d for d in range(2, isqrt(n) + 1)))
