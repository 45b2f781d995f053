"""Download the lecture's names into the user's cache, and verify them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from makemore_cli.errors import MakemoreError

URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"
SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
TIMEOUT_SECONDS = 30  # seconds without an answer


def cache_folder() -> Path:
    """The user's cache, or `$MAKEMORE_CACHE`."""
    import pooch

    return Path(os.environ.get("MAKEMORE_CACHE") or pooch.os_cache("makemore"))


def cached_names() -> Path:
    """The path of the downloaded names in the cache."""
    return cache_folder() / "names.txt"


def get_names(url: str = URL) -> Path:
    """Download the lecture's names unless an intact copy is there. An incomplete download is removed.

    Raises MakemoreError if the download fails or is not the lecture's file.
    """
    import pooch
    import requests  # pooch downloads with it

    target = cached_names()
    # pooch reports on stderr what the command says better itself.
    pooch.get_logger().setLevel("ERROR")
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{SHA256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS),
        )
    except ValueError as error:
        if "known hash" not in str(error):
            raise MakemoreError(f"{url}: is not an http or https URL") from None
        raise MakemoreError(
            f"{url}: the download is not the lecture's file (its SHA-256 differs); try again later"
        ) from None
    except requests.HTTPError as error:
        status = "refused" if error.response is None else f"{error.response.status_code} {error.response.reason}"
        raise MakemoreError(f"{url}: can't be downloaded: {status}") from None
    except requests.Timeout:
        raise MakemoreError(
            f"{url}: can't be downloaded: no answer within {TIMEOUT_SECONDS} s; try again later"
        ) from None
    except requests.ConnectionError:
        host = urlsplit(url).netloc
        raise MakemoreError(f"{url}: can't be downloaded: no connection to {host}; check the network") from None
    except OSError as error:
        raise MakemoreError(f"{target}: can't be written: {error.strerror or error}") from None
    return target
