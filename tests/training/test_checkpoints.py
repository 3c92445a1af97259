"""Training checkpoints that are not what was written."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from safetensors.numpy import load, save

from dynamic_sparsity import cli
from dynamic_sparsity.errors import CorruptPolicyError
from dynamic_sparsity.storage import atomic
from dynamic_sparsity.training import run
from dynamic_sparsity.training.checkpoints import Point, TrainingFolder, decode, encode
from dynamic_sparsity.training.hyperparameters import resolve


@pytest.fixture(scope="module")
def content() -> bytes:
    pytest.importorskip("brax")
    import jax
    from brax.training.acme import running_statistics, specs

    statistics = running_statistics.init_state(specs.Array((3,), np.dtype("float32")))
    networks = [{"params": {"hidden_0": {"kernel": np.ones((3, n)), "bias": np.zeros(n)}}} for n in (2, 1)]
    assert jax.tree_util.tree_leaves(statistics)
    return encode((statistics, *networks))


def test_what_was_written_is_read(content: bytes) -> None:
    statistics, policy, value = decode(content)
    assert statistics.mean.shape == (3,) and policy["params"]["hidden_0"]["kernel"].shape == (3, 2)
    assert encode((statistics, policy, value)) == content


def test_damaged_checkpoints(content: bytes, tmp_path: Path) -> None:
    random, refused = Random(0), 0
    for _ in range(400):
        damaged = bytearray(content)
        kind = random.randrange(4)
        at = random.randrange(min(len(damaged), 700))
        if kind == 0:
            damaged[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            damaged[at:at] = random.randbytes(5)
        else:
            damaged[0:8] = random.choice((0, 1, 2**31, 2**63)).to_bytes(8, "little")
        try:
            decode(bytes(damaged), "it")
        except CorruptPolicyError as error:
            assert str(error).startswith("it")
            refused += 1
    assert refused > 200


def test_parts_that_are_missing(content: bytes) -> None:
    arrays = load(content)
    for name in arrays:
        if name.startswith("normaliser"):
            with pytest.raises(CorruptPolicyError):
                decode(save({other: one for other, one in arrays.items() if other != name}))


@pytest.mark.slow
def test_the_command_is_interrupted_while_it_writes(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    syncs = [0]

    def point(self: run._Run) -> Point:
        return Point(self.place.steps + 100, seconds=1.0, mean=float(self.place.steps), deviation=0.1)

    def trains(self: run._Run) -> None:
        self.place.record(point(self), decode(content))
        syncs[0] = 2  # Ctrl-C comes when the best parameters of the second evaluation are there, and not the latest
        self.place.record(point(self), decode(content))

    def sync(_: int) -> None:
        syncs[0] -= 1
        if not syncs[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(run._Run, "train", trains)
    monkeypatch.setattr(atomic, "sync", sync)
    words = ["train", "CartpoleBalance", "--out", str(tmp_path), "--steps", "1000000"]
    for times in (1, 2):
        assert cli.main(words) == 130
        assert capsys.readouterr().err.startswith("Interrupted.")
        assert not list(tmp_path.rglob("*.partial"))
        settings = resolve("CartpoleBalance", "ppo", "cpu", 1_000_000, 0)
        place = TrainingFolder.open(tmp_path / "CartpoleBalance.training", settings)
        assert place.steps == 100 * times, "what was recorded before is gone on from"
