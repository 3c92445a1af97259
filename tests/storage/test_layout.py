import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.storage.chunking import CHUNK_BYTES_MAX, Layout, chunk_rows, plan


@pytest.mark.parametrize(
    ("dx", "rows"), [(1, 1024), (6, 1024), (18, 1024), (28, 512), (55, 256), (75, 128), (120, 128)]
)
def test_chunk_rows(dx: int, rows: int) -> None:
    assert chunk_rows(dx) == rows


@given(st.integers(1, 200))
def test_chunks_are_as_large_as_the_rule_allows(dx: int) -> None:
    rows = chunk_rows(dx)
    assert rows in (128, 256, 512, 1024)
    assert rows == 128 or rows * dx * dx * 4 <= CHUNK_BYTES_MAX
    assert rows == 1024 or 2 * rows * dx * dx * 4 > CHUNK_BYTES_MAX


@pytest.mark.parametrize(
    ("episode_length", "dx", "layout"),
    [
        (1000, 6, Layout(1024, 25600, 128)),
        (1000, 18, Layout(1024, 25600, 128)),
        (1000, 75, Layout(128, 6400, 32)),
        (1024, 18, Layout(1024, 16384, 64)),
        (999, 18, Layout(256, 9472, 256)),
    ],
)
def test_plans(episode_length: int, dx: int, layout: Layout) -> None:
    assert plan(episode_length, dx) == layout


@given(st.integers(1, 2000), st.integers(1, 120), st.none() | st.integers(1, 500))
def test_units_fill_whole_shards_and_stay_modest(episode_length: int, dx: int, batch: int | None) -> None:
    layout = plan(episode_length, dx, batch)
    assert (layout.unit_episodes * episode_length) % layout.shard_rows == 0
    assert layout.shard_rows % layout.chunk_rows == 0
    assert math.log2(layout.chunk_rows).is_integer() and layout.chunk_rows <= chunk_rows(dx)
    wanted = 32 if dx >= 40 else 64
    if batch is None:
        assert wanted <= layout.unit_episodes <= 4 * wanted
    else:
        assert batch <= layout.unit_episodes < batch + 4 * wanted
        assert layout.chunk_rows == plan(episode_length, dx).chunk_rows


@pytest.mark.parametrize(
    ("arguments", "message"), [((0, 6), "episode_length is 0"), ((5, 6, 0), "batch"), ((5, 0), "dx")]
)
def test_impossible_plans(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        plan(*arguments)
