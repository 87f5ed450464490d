"""From the files of real clients to a victim set."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dia.datasets.specs import Received
from dia.errors import DiaError, UpdateError
from dia.federated.update import ClientUpdate
from dia.federated.update_file import read_update
from dia.gradients.engine import GradientEngine
from dia.inversion.client_model import plain_attention
from dia.inversion.examination import describe_setting, examine
from dia.inversion.originals import read_originals
from dia.inversion.received import Tensors, load_weights, matched, receive
from dia.inversion.received_set import Arrays, ReceivedSet, ReceivedVictim
from dia.inversion.setting import Setting
from dia.inversion.settings_file import InversionSettings
from dia.utils.canonical_json import canonical
from dia.utils.files import file_sha256
from dia.utils.paths import expanded

CHANGED = "changed since the config was read; start the workflow again"


def read_part(spec: Received, name: str) -> ReceivedSet:
    """Read and check the files of one part of a received dataset; see :meth:`ReceivedSet.make`."""
    assert spec.contents is not None  # the config fills it in
    contents = spec.contents
    client = InversionSettings.model_validate(contents["client"])
    found: list[tuple[ReceivedVictim, Arrays, NDArray[np.float32] | None]] = []
    with plain_attention():
        setting, known = client_setting(client, method="dia", device="cpu", seed=0)
        tensors = _read_unchanged(expanded(spec.before), contents["before"])
        before = matched(setting.network, tensors, f"before ({spec.before})", setting.warnings)
        load_weights(setting.network, before)
        engine = setting.engine()
        for file, digest in contents["updates"].items():
            refusal, warnings, update, private = "", list[str](), dict[str, Tensor](), None
            try:
                tensors = _read_unchanged(expanded(spec.updates) / file, digest)
                update = matched(setting.network, tensors, "update", warnings)
                warnings += check_one(setting, engine, client, update, known)[2]
                private = _private_images(spec, file, (setting.images, *setting.shape))
            except DiaError as error:
                refusal, update, warnings = str(error), {}, []
            victim = ReceivedVictim(file, digest, refusal, tuple(dict.fromkeys(warnings)))
            found.append((victim, _arrays(update), private))
    return ReceivedSet(
        dataset=name,
        client=client,
        sha256=hashlib.sha256(canonical(contents).encode()).hexdigest(),
        victims=tuple(victim for victim, _, _ in found),
        before=_arrays(before),
        updates=tuple(update for _, update, _ in found),
        originals=tuple(private for _, _, private in found),
    )


def client_setting(
    client: InversionSettings, dropout_rate: float | None = None, **attack: Any
) -> tuple[Setting, Tensor | None]:
    """The setting of an attack on such clients, and their labels (N,), None where they are to be inferred.

    Args:
        client: The description of the clients.
        dropout_rate: What ``$dropout_rate`` stands for in the arguments of the model's factory.
        **attack: ``method``, ``device``, ``seed``, and changes of settings.

    Raises:
        UpdateError, ModelError, AttackError: See :func:`dia.inversion.invert.invert`.
    """
    arguments = client.client_arguments()
    del arguments["sign"]
    arguments["sends_gradient"] = arguments.pop("kind") == "gradient"
    chosen = {name: attack.pop(name) for name in ("method", "device", "seed")}
    return describe_setting(client.make_model(dropout_rate), **arguments, **chosen, changes=attack)


def check_one(
    setting: Setting,
    engine: GradientEngine,
    client: InversionSettings,
    update: Mapping[str, Tensor],
    known: Tensor | None,
) -> tuple[ClientUpdate, Tensor, list[str]]:
    """The update of one client as an attack takes it, its labels (N,), and warnings.

    Raises:
        UpdateError, AttackError: It cannot be attacked.
    """
    received = receive(setting.network, update, client.kind, None, client.sign, setting.protocol)
    sent, labels, warnings = examine(setting, engine, received, known)
    return sent, labels, [*setting.warnings, *warnings]


def _read_unchanged(path: Path, digest: str) -> Tensors:
    """The tensors of a file that is still the one that the config saw.

    Raises:
        UpdateError: It is not, or cannot be read.
    """
    if path.is_file() and file_sha256(path) != digest:
        raise UpdateError(f"{path}: {CHANGED}")
    return read_update(path)


def _private_images(spec: Received, file: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """The private images (N, C, H, W) of one client; None where nobody has them."""
    assert spec.contents is not None
    name = Path(file).with_suffix(".npz").name
    if spec.originals is None or name not in spec.contents["originals"]:
        return None
    path = expanded(spec.originals) / name
    if path.is_file() and file_sha256(path) != spec.contents["originals"][name]:
        raise UpdateError(f"{path}: {CHANGED}")
    return read_originals(path, shape)


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Tensors for numpy, which lacks bfloat16; float64 stays, every other float fits float32."""
    return {
        name: (value.float() if value.is_floating_point() and value.dtype != torch.float64 else value).numpy()
        for name, value in tensors.items()
    }
