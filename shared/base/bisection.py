"""Bisection: what fails for many items together is done for each half, down to the items at fault."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def bisect(
    call: Callable[[Sequence[T]], Awaitable[None]], items: Sequence[T], passing: type[Exception]
) -> dict[T, Exception]:
    """Call with all items, and with halves of those for which it raises; return the items that raise alone, and what.

    `passing` concerns no single item and is raised at once.
    """
    if not items:
        return {}
    try:
        await call(items)
    except passing:
        raise
    except Exception as e:
        if len(items) == 1:
            return {items[0]: e}
    else:
        return {}
    middle = len(items) // 2
    return {**await bisect(call, items[:middle], passing), **await bisect(call, items[middle:], passing)}
