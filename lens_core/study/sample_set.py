"""The sample set: 40 problems of our own, five levels, half in English and half in Chinese.

Level 1 holds sums of single digits that the embedded model can do. Every row has a short response
to score, with its doubts and checks; some are wrong on purpose, so that right and wrong ones can be
compared. No row says which: that is found by comparing with its answer.
"""

from __future__ import annotations

from pathlib import Path

from lens_core.errors import InputError
from lens_core.study.reading import read_rows
from lens_core.study.rows import Row

SAMPLE = Path(__file__).with_name("samples") / "sample.jsonl"


def sample_rows() -> tuple[Row, ...]:
    """The rows of the sample set; their language is in `fields["lang"]`."""
    return tuple(row for row in read_rows(SAMPLE) if isinstance(row, Row))


def write_sample(path: Path) -> Path:
    """Write the sample set as one JSON object a line; an existing file is left as it is.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(SAMPLE.read_bytes())
    except FileExistsError as error:
        raise InputError(f'The file "{path}" exists; name another one, or remove it.') from error
    except OSError as error:
        raise InputError(f'The file "{path}" cannot be written: {error.strerror}.') from error
    return path
