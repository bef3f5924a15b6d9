"""Images of the views that are wanted (`data.views`), by what a dataset says of them, else by their DICOM headers."""

from __future__ import annotations

from collections.abc import Sequence

from mammo.data.dicom import header_or_none
from mammo.data.formats.registry import Progress
from mammo.data.manifest import LeftOut
from mammo.data.parallel import HEADER_THREADS, counted, in_order
from mammo.data.views import is_among, shown_view

Entries = list[dict[str, str]]


def with_wanted_views(
    entries: Entries, views: Sequence[str] | None, *, has_headers: bool, progress: Progress | None
) -> tuple[Entries, list[LeftOut]]:
    """The entries (columns of a manifest) whose view is wanted or not known, unchanged, and the others.

    `has_headers` says that they already have what headers say; else those are read where it takes them to decide.
    """
    if views is None:
        return entries, []
    seen = [(entry["view"], entry["laterality"]) for entry in entries]
    if not has_headers:
        seen = _with_headers(seen, [entry["path"] for entry in entries], views, progress)
    kept, left_out = [], []
    for entry, (view, side) in zip(entries, seen, strict=True):
        if is_among(view, side, views):
            kept.append(entry)
        else:
            left_out.append(LeftOut(entry["image_id"], "excluded", f"view {shown_view(view)} is not in data.views"))
    return kept, left_out


def _with_headers(
    seen: Sequence[tuple[str, str]], paths: Sequence[str], views: Sequence[str], progress: Progress | None
) -> list[tuple[str, str]]:
    """Views and sides with those of headers where they are missing; only to decide by them.

    An entry itself keeps what the dataset says: a side is part of the name under which its image is stored, which
    would make it another dataset.
    """
    known = list(seen)
    open_ones = [i for i, (view, side) in enumerate(seen) if not view or not (side or is_among(view, side, views))]
    # What is wrong with a file that cannot be read is said when it is decoded.
    headers = in_order(header_or_none, [paths[i] for i in open_ones], HEADER_THREADS)
    for i, header in zip(open_ones, counted(headers, len(open_ones), progress), strict=True):
        if header is not None:
            known[i] = seen[i][0] or header.view, seen[i][1] or header.laterality
    return known
