"""Full batches for an encoder, whatever clips the pictures come from."""

import queue
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from espnet2_avsep.media.container import ClipError
from espnet2_avsep.visual.feature_job import Result


def encode_clips(encoder, events: Iterable[Tuple[str, Any]]) -> Iterator[Result]:
    """Encode pictures in full batches, whatever clips they come from.

    Args:
        encoder: A :class:`FrameEncoder`.
        events: Clip by clip: (key, picture or window) ..., then (key, None), or (key,
            error) where the clip turns out to be of no use.

    Yields:
        (key, (n, D) float32) or (key, error), clips in their order.
    """
    waiting: List[Tuple[str, np.ndarray]] = []
    rows: Dict[str, List[np.ndarray]] = {}
    closed: List[Tuple[str, Optional[ClipError]]] = []

    def flush() -> Iterator[Result]:
        if waiting:
            encoded = encoder.encode_fitted([image for _, image in waiting])
            for (key, _), row in zip(waiting, encoded, strict=True):
                rows.setdefault(key, []).append(row)
            waiting.clear()
        for key, error in closed:
            matrix = rows.pop(key, [])
            if error is None and not np.isfinite(matrix).all():
                error = ClipError(key, "the encoder returned NaN or infinite values")
            yield key, error or np.stack(matrix)
        closed.clear()

    for key, event in events:
        if isinstance(event, np.ndarray):
            waiting.append((key, event))
            if len(waiting) == encoder.batch_size:
                yield from flush()
        else:
            if event is not None:
                waiting[:] = [item for item in waiting if item[0] != key]
            closed.append((key, event))
            if not waiting:
                yield from flush()
    yield from flush()


def encode_each(
    encoder, keys: Iterable[str], items: Callable[[str], Iterable[np.ndarray]]
) -> Iterator[Result]:
    """Encode the pictures, or windows, of clips, read ahead in the background.

    Args:
        encoder: A :class:`FrameEncoder`.
        keys: The clips.
        items: Clip -> its pictures or windows; may raise a ClipError.

    Yields:
        See :func:`encode_clips`.
    """

    def events() -> Iterator[Tuple[str, Any]]:
        for key in keys:
            try:
                for item in items(key):
                    yield key, item
                yield key, None
            except ClipError as error:
                yield key, error

    return encode_clips(encoder, in_background(events(), 2 * encoder.batch_size))


def in_background(items: Iterable[Any], depth: int) -> Iterator[Any]:
    """Run an iterator in a thread, a number of items ahead.

    Args:
        items: What it yields, and raises, comes out here.
        depth: How many items may wait.
    """
    ahead: queue.Queue = queue.Queue(depth)
    ended = threading.Event()

    def put(item: Any, error: Optional[BaseException]) -> None:
        while not ended.is_set():
            try:
                ahead.put((item, error), timeout=0.1)
                break
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                put(item, None)
                if ended.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # raised again where the items are used
            put(None, error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ahead.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        ended.set()
        thread.join()
