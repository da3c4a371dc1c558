"""Where the weights of an open_clip model are: found without importing torch."""

import contextlib
import difflib
import os
from typing import Any, Dict, List, Optional, Tuple

from espnet2_avsep.data.fetch import fetch_file
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.encoder_info import RANDOM
from espnet2_avsep.visual.pretrained.open_clip_import import import_tags, list_models
from espnet2_avsep.visual.pretrained.weights import connection_problem, weights_error


def find_weights(
    model: str, pretrained: str, cache_dir: Optional[str] = None
) -> Tuple[Optional[str], Dict[str, Any]]:
    """Find the file of a model's weights; a download is made where it is needed.

    Args:
        model: One of open_clip's model names.
        pretrained: A tag that open_clip knows for the model, the path of a checkpoint,
            or "random".
        cache_dir: Where downloads are kept; default: the Hugging Face cache.

    Returns:
        Path of the file, None for "random"; what open_clip states for the tag, {} for
        the others.

    Raises:
        InputError: unknown model or tag, weights that are neither here nor within
            reach.
    """
    known = list_models()
    if model not in known:
        near = difflib.get_close_matches(model, known, 3) or known[:3]
        raise InputError(
            f"--visual_model {model}: open_clip has no such model; similar: "
            f"{', '.join(near)} (open_clip.list_models() gives all)."
        )
    if pretrained == RANDOM:
        return None, {}
    if os.path.isfile(pretrained):
        return pretrained, {}
    tags = import_tags()
    tag = tags.get_pretrained_cfg(model, pretrained)
    if not tag:
        known = tags.list_pretrained_tags_by_model(model)
        raise InputError(
            f"--visual_pretrained {pretrained}: no such file, and no tag of {model}; "
            f"expected one of {', '.join(known) or '(it has no tags)'}, the path of a "
            f"checkpoint, or '{RANDOM}'."
        )
    return _fetch(model, pretrained, tag, cache_dir), tag


def _fetch(model: str, name: str, tag: Dict[str, Any], cache_dir: Optional[str]) -> str:
    """Return the file of a pretrained tag: from the cache, else from the network.

    Raises:
        InputError: it is in neither.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    repo, _, file = tag.get("hf_hub", "").rpartition("/")
    if repo:
        folder = cache_dir or constants.HF_HUB_CACHE
        where = f"{constants.ENDPOINT}/{repo}"
        files = _hub_files(file)
        for file in files:
            path = try_to_load_from_cache(repo, file, cache_dir=cache_dir)
            if isinstance(path, str):
                return path
    else:
        folder = cache_dir or os.path.expanduser("~/.cache/clip")
        where = tag["url"]
        path = os.path.join(folder, os.path.basename(where))
        sha256 = _published_sha256(where)
        if os.path.isfile(path) and file_sha256(path).startswith(sha256):
            return path
    problem = (
        "HF_HUB_OFFLINE is set"
        if constants.HF_HUB_OFFLINE
        else connection_problem(where)
    )
    try:
        if problem is None and not repo:
            # Not open_clip's own function, which keeps a file that was cut off.
            fetch_file(where, path, sha256_prefix=sha256)
            return path
        for file in files if problem is None else []:
            with contextlib.suppress(EntryNotFoundError):
                return hf_hub_download(repo, file, cache_dir=cache_dir)
    except Exception as error:  # which classes depends on the hub client's version
        problem = (str(error).splitlines() or [type(error).__name__])[0]
    raise weights_error(model, name, folder, where, problem or "no such file there")


def _published_sha256(url: str) -> str:
    """Return what an address tells of its file's SHA-256: all, the beginning, or ""."""
    if "openaipublic" in url:  # .../<SHA-256>/ViT-B-32.pt
        return url.split("/")[-2]
    if "mlfoundations" in url:  # .../<name>-<first digits>.pt
        return os.path.splitext(url)[0].rpartition("-")[2]
    return ""


def _hub_files(wanted: str) -> List[str]:
    """Return the files of a hub repository to try, in open_clip's order."""
    if not wanted:
        return ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    if wanted.endswith((".bin", ".pth")):
        return [os.path.splitext(wanted)[0] + ".safetensors", wanted]
    return [wanted]
