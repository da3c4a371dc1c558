"""The Hugging Face hub: fetch a model, publish one; its errors in plain words."""

import os
import re
from pathlib import Path
from typing import Optional

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
# Of a repository, what a packed model consists of.
PATTERNS = ["*.yaml", "*.safetensors", "*.pth", "*.pt", "*.md"]


def check_repo_id(name: str, option: str = "--hf_repo") -> None:
    """Raise an InputError unless the name is one of a repository, user/name."""
    if not REPO_ID.fullmatch(name) or ".." in name or "--" in name:
        raise InputError(
            f"{option} {name!r}: expected the name of a repository on the Hugging Face "
            "hub, <user or organisation>/<name>, of letters, digits, '-', '_' and '.'."
        )


def fetch(
    repo_id: str, revision: Optional[str] = None, cache_dir: Optional[PathLike] = None
) -> Path:
    """Fetch a repository's model, or find it in the hub's cache.

    Raises:
        InputError: no such repository or revision, no access, no network and not in
            the cache.
    """
    import huggingface_hub

    check_repo_id(repo_id, "the model")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo_id,
                revision=revision,
                cache_dir=cache_dir,
                allow_patterns=PATTERNS,
            )
        )
    except Exception as error:  # the hub's own errors vary with its version
        where = f"{repo_id}{f', revision {revision}' if revision else ''}"
        raise InputError(
            f"{where}: cannot be had from the Hugging Face hub: {_explain(error)} A "
            "model on the disk is given by its path: a folder, or the zip file of "
            "stage 9."
        ) from error


def publish(folder: PathLike, repo_id: str, private: bool, message: str) -> str:
    """Make the repository where there is none, and upload a folder as one commit.

    Returns:
        The address of the repository.

    Raises:
        InputError: no token, no right to write, no network.
    """
    import huggingface_hub

    check_repo_id(repo_id)
    if not huggingface_hub.get_token():
        raise InputError(
            f"--hf_repo {repo_id}: there is no token for the Hugging Face hub. Run 'hf "
            "auth login' once, or set HF_TOKEN; the token must be one that may write. "
            "--dry_run true writes the folder without uploading it."
        )
    try:
        api = huggingface_hub.HfApi()
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, folder_path=str(folder), commit_message=message
        )
    except Exception as error:  # the hub's own errors vary with its version
        raise InputError(
            f"--hf_repo {repo_id}: cannot be uploaded: {_explain(error)} The folder "
            f"{folder} is complete; run stage 10 again when this is fixed."
        ) from error
    return str(url)


def _explain(error: Exception) -> str:
    """Say in words what an error of huggingface_hub means."""
    names = {cls.__name__ for cls in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    if "OfflineModeIsEnabled" in names or (
        offline and "LocalEntryNotFoundError" in names
    ):
        return "HF_HUB_OFFLINE is set, and it is not in the cache."
    if "LocalEntryNotFoundError" in names or "ConnectError" in names:
        return "there is no network, or no hub at the other end of it."
    if "GatedRepoError" in names:
        return "its owner gives access on demand: ask for it on its page and log in."
    if "RevisionNotFoundError" in names:
        return "there is no such revision."
    if "RepositoryNotFoundError" in names:
        return "there is no such repository, or it is private and the token is not its."
    if status in (401, 403) or "LocalTokenNotFoundError" in names:
        return f"the token is missing, wrong, or may not do this ({first})."
    return f"{first.rstrip('.')}."
