"""The pictures of the documents: which there are, and that small ones keep their colours."""

from __future__ import annotations

import os
from io import BytesIO
from urllib.parse import parse_qs

import chromium
import numpy as np
import pytest
import take_screenshots
from PIL import Image
from take_screenshots import MAX_BYTES, PHONE, SHOTS, WIDE, Shot, chosen, small, stage, take


def png(pixels: np.ndarray) -> bytes:
    made = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(made, "PNG")
    return made.getvalue()


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)


def test_every_picture_has_a_name_of_its_own() -> None:
    names = [shot.name for shot in SHOTS]
    assert len(set(names)) == len(names)
    assert {"graph", "graph-dark-420", "logit-lens", "logit-lens-dark-420"} <= set(names), (
        "the README shows them"
    )
    assert {shot.width for shot in SHOTS} == {WIDE, PHONE}
    looks = {(shot.language, shot.theme, shot.width) for shot in SHOTS}
    assert len(looks) == 3 * 2 * 2


def test_the_address_of_a_picture_says_how_it_looks() -> None:
    shot = Shot("one", theme="dark", language="ja", query={"prompt": "a & b\n#c"})
    found = parse_qs(shot.address)
    page = {"tab": ["logit_lens"], "__theme": ["dark"], "lang": ["ja"]}
    assert found == {"prompt": ["a & b\n#c"], **page}


def test_pictures_are_chosen_by_name() -> None:
    assert chosen(None, pytest.fail) == SHOTS
    assert [shot.name for shot in chosen(["logit-lens"], pytest.fail)] == ["logit-lens"]
    said: list[str] = []

    def complain(text: str) -> None:
        said.append(text)
        raise SystemExit(2)

    with pytest.raises(SystemExit):
        chosen(["logit-lens", "no-such"], complain)
    assert "no picture 'no-such'" in said[0]
    assert "logit-lens" in said[0]


def test_few_colours_stay_exactly_as_they_are() -> None:
    generator = np.random.default_rng(0)
    palette = generator.integers(0, 256, (80, 3))
    picture = palette[generator.integers(0, 80, (60, 70))]
    np.testing.assert_array_equal(pixels(small(png(picture))), picture)


def test_a_thin_line_keeps_its_colour_among_many_others() -> None:
    ramp = np.linspace(0, 255, 400)
    picture = np.stack([np.tile(ramp, (300, 1)), np.tile(ramp[::-1], (300, 1))], -1)
    picture = np.concatenate([picture, np.full((300, 400, 1), 40)], -1).round()
    picture[150, 100:130] = [194, 65, 12]
    made = pixels(small(png(picture)))
    assert np.abs(made[150, 100:130] - [194, 65, 12]).max() <= 16
    common = np.abs(made - picture).max(-1)
    assert np.percentile(common, 99) <= 16


def test_a_picture_is_small_also_when_it_is_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 100, 3))
    whole = len(small(png(noise)))
    assert whole <= MAX_BYTES
    monkeypatch.setattr(take_screenshots, "MAX_BYTES", whole - 1)
    assert len(small(png(noise))) < whole


@pytest.mark.browser
@pytest.mark.slow
def test_pictures_are_taken_of_every_kind_of_state() -> None:
    if chromium.find() is None and not os.environ.get("CI"):
        pytest.skip(chromium.MISSING)
    names = [
        "graph",
        "selected-light-1400",
        "busy-ja-dark-420",
        "edited-card-dark-1400",
        "sheet-light-420",
    ]
    with stage() as ready:
        for shot in chosen(names, pytest.fail):
            picture = Image.open(BytesIO(take(ready, shot)))
            assert picture.width == shot.width
            assert picture.height > 1000 if shot.whole else picture.height == 900
