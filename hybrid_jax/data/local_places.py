"""Places that most sources cannot read: buckets, the web, and archives."""

import pathlib

from hybrid_jax.errors import UserError

_ANYWHERE = ("records", "tfds", "hf_dataset")  # kinds that say themselves what they lack
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def check_local(kind: str, location: str) -> None:
    """Raises `UserError` for a location that is not a folder or file on this machine."""
    if kind in _ANYWHERE:
        return
    for place in location.split(","):
        if "://" in place:
            raise UserError(
                f"data {kind + ':' + location!r}: {place.strip()} is not on this machine, "
                f"and {kind}: reads folders alone, since millions of small files are slow "
                f"elsewhere. Copy the data here; to train from a bucket, pack it with "
                f"--mode=pack --output=gs://..., and read it with records=gs://..."
            )
        path = pathlib.Path(place.strip()).expanduser()
        if path.name.lower().endswith(_ARCHIVES) and path.is_file():
            raise UserError(
                f"data {kind + ':' + location!r}: {path} is an archive. Unpack it, and "
                f"name the folder."
            )
