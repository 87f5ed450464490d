"""The input of a cell of real clients' updates: problem and, where somebody has them, private images."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dia.attacks.stop_reasons import REFUSED
from dia.errors import AttackError, DiaError, VictimError
from dia.evaluation.experiment import Experiment, victim_id
from dia.federated.trained_model import TrainedModel
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient, ParameterGradient
from dia.inversion.invert import EXPLAINED
from dia.inversion.received import load_weights
from dia.inversion.received_files import check_one, client_setting
from dia.inversion.received_set import ReceivedSet
from dia.jobs.attack_job import AttackJob


def build_experiment(
    job: AttackJob, victims: ReceivedSet, device: torch.device, trained: TrainedModel | None = None
) -> Experiment:
    """Build a cell's experiment from what its clients sent.

    Args:
        job: The cell and its settings.
        victims: The victim set of its dataset.
        device: Where the models compute.
        trained: None: the server's weights came with the updates.

    Raises:
        VictimError: The victim set has too few updates for the cell's victims.
        UpdateError, ModelError, AttackError: The cell cannot be attacked; see :func:`dia.inversion.invert.invert`.
    """
    settings, seed = job.settings, job.cell.seed
    if trained is not None:
        raise AttackError(
            "updates that were received come with their own weights; federated_rounds must be 0"
        )
    if settings.victims > len(victims.victims):
        raise VictimError(f"{settings.victims} victims are needed; the victim set has {len(victims.victims)}")
    setting, known = client_setting(
        victims.client, job.cell.p, method=job.cell.attack, device=str(device), seed=seed, precision=settings.precision
    )  # fmt: skip
    setting = replace(setting, settings=settings)
    load_weights(setting.network, _tensors(victims.before))
    client = setting.engine()
    chosen = victims.victims[: settings.victims]
    failed, remarks, numbers = dict[int, str](), dict[int, tuple[str, ...]](), list[int]()
    sent, labels = list[ClientUpdate](), list[Tensor]()
    for number, victim in enumerate(chosen):
        try:
            if victim.refusal:
                raise AttackError(victim.refusal)
            update, own, _ = check_one(
                setting, client, victims.client, _tensors(victims.updates[number]), known
            )
        except DiaError as error:
            failed[number] = f"{REFUSED}: {error}"
            continue
        remarks[number] = victim.warnings
        numbers.append(number)
        sent.append(update)
        labels.append(own)
    shape = (setting.images, *setting.shape)
    originals = torch.full((len(chosen), *shape), torch.nan, dtype=torch.float64)
    for number in range(len(chosen)):
        if (images := victims.originals[number]) is not None:
            originals[number] = torch.from_numpy(images.astype(np.float64))
    attacked = torch.stack(labels) if labels else torch.zeros(0, setting.images, dtype=torch.int64)
    by_number = dict(zip(numbers, attacked.tolist(), strict=True))
    received = _together(sent, setting.network, setting.dtype)
    problem = setting.problem(client, received, attacked, [victim_id(number) for number in numbers])
    return Experiment(
        numbers=numbers,
        failed=failed,
        all_originals=originals,
        all_labels=[by_number.get(number) for number in range(len(chosen))],
        problem=problem,
        original=originals[numbers],
        labels=attacked,
        num_classes=setting.num_classes,
        scoring_engine=client,
        true_masks=None,
        normalisation=setting.normalisation,
        remarks=remarks,
        doubted_from=EXPLAINED,
    )


def _together(updates: list[ClientUpdate], network: nn.Module, dtype: torch.dtype) -> ClientUpdate:
    """The updates of V clients as one; a parameter that only some were trained on is zero for the others."""
    pieces: dict[str, ParameterGradient] = {}
    for name, parameter in network.named_parameters():
        zero = parameter.detach().new_zeros(1, *parameter.shape, dtype=dtype)
        own = [update.pieces[name].dense() if name in update.pieces else zero for update in updates]
        if any(name in update.pieces for update in updates):
            pieces[name] = DenseGradient(torch.cat(own))
        elif not updates:
            pieces[name] = DenseGradient(zero[:0])
    return ClientUpdate.of(pieces)


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}
