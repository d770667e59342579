"""Held values stay within their budget, the longest unused go first, and threads may share them."""

from __future__ import annotations

import random
import threading

from lens_core import Held


def held(max_bytes: int) -> Held[str]:
    return Held(max_bytes, len)


def test_the_longest_unused_goes_first() -> None:
    values = held(6)
    for key in "abc":
        values.put(key, key * 2)
    assert values.get("a") == "aa"
    values.put("d", "dd")
    assert values.get("b") is None
    assert [values.get(key) for key in "acd"] == ["aa", "cc", "dd"]
    assert values.nbytes == 6


def test_a_value_beyond_the_budget_is_not_kept_and_drives_nothing_out() -> None:
    values = held(4)
    values.put("a", "aa")
    values.put("b", "bbbbb")
    assert values.get("b") is None
    assert values.get("a") == "aa"
    values.put("a", "aaaaa")
    assert values.get("a") is None, "the old value must not stand for the new one"
    assert values.nbytes == 0


def test_a_key_holds_one_value() -> None:
    values = held(4)
    values.put(("a", 1), "xxx")
    values.put(("a", 1), "yy")
    assert values.get(("a", 1)) == "yy"
    assert values.nbytes == 2
    values.clear()
    assert values.get(("a", 1)) is None
    assert values.nbytes == 0


def test_sizes_come_from_nbytes_by_default() -> None:
    values: Held[memoryview] = Held(3)
    values.put("a", memoryview(b"abc"))
    values.put("b", memoryview(b"abcd"))
    assert values.get("a") is not None
    assert values.get("b") is None


def test_threads_share_it() -> None:
    values = held(50)
    wrong: list[str] = []

    def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(2000):
            key = chosen.choice("abcdefghij")
            found = values.get(key)
            if found is not None and set(found) != {key}:
                wrong.append(found)
            values.put(key, key * chosen.randint(1, 20))
            if values.nbytes > 50:
                wrong.append("too much")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
