"""``dia.invert`` on what plain torch clients send, in every form and protocol."""

import copy
from typing import Any

import pytest
import torch
from helpers.real_clients import CLASSES, MEAN, NORMALISATION, SHAPE, STD, network, train_client
from torch import nn

import dia
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient

FAST: dict[str, Any] = {
    **NORMALISATION, "shape": SHAPE, "method": "dia_lbfgs", "device": "cpu", "max_iterations": 300,
}  # fmt: skip


def test_five_lines_recover_image_masks_and_label() -> None:
    client = train_client()
    r = dia.invert(client.model, client.gradient, **FAST)
    assert float(dia.score(r.images, client.images).ssim) > 0.95
    assert r.labels.tolist() == client.labels.tolist()
    assert r.warnings == () and r.distance < 1e-3 and r.claimed is None
    assert r.iterations <= 300 and r.stop_reason in ("converged", "max_iterations")
    assert r.images.shape == (1, *SHAPE) and r.images.min() >= 0 and r.images.max() <= 1
    # The mask that torch's dropout drew: a dropped unit has a zero column in the next layer's gradient.
    kept = client.gradient["4.weight"].abs().sum(0) > 0
    assert r.masks["3"].shape == (1, 64)
    assert float((r.masks["3"][0] == kept).double().mean()) > 0.95
    assert r.gradient_norms["1.weight"] == pytest.approx(float(client.gradient["1.weight"].norm()))


def test_the_model_stays_as_it_was() -> None:
    client = train_client()
    model = client.model.eval()
    model[1].weight.grad = torch.ones_like(model[1].weight)
    state, modules = copy.deepcopy(model.state_dict()), [type(m) for m in model.modules()]
    random = torch.random.get_rng_state()
    dia.invert(model, client.gradient, **FAST | {"max_iterations": 3}, before=client.after)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert [type(m) for m in model.modules()] == modules and not any(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters()) and model[1].weight.grad.eq(1).all()
    assert torch.equal(torch.random.get_rng_state(), random)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    client = train_client()
    dia.invert(client.model, client.gradient, **FAST | {"max_iterations": 3}, twin=True)
    assert capfd.readouterr() == ("", "")


def test_every_form_of_an_update_is_the_same_update() -> None:
    client = train_client()
    gradient, before, after = client.gradient, client.before, client.after
    trained = network()
    trained.load_state_dict(after)
    step = dia.FedSGD(learning_rate=0.1)
    forms: dict[str, tuple[Any, dict[str, Any]]] = {
        "list": (list(gradient.values()), {}),
        "tuple": (tuple(gradient.values()), {}),
        "arrays": ({name: value.numpy() for name, value in gradient.items()}, {}),
        "ClientUpdate": (ClientUpdate.of({n: DenseGradient(v[None]) for n, v in gradient.items()}), {}),
        "DataParallel": ({f"module.{name}": value for name, value in gradient.items()}, {}),
        "difference": (client.difference, {"kind": "difference", "protocol": step}),
        "negative": ({n: -v for n, v in client.difference.items()},
                     {"kind": "difference", "protocol": step, "sign": "before-after"}),
        "weights": (after, {"kind": "weights", "protocol": step}),
        "module": (trained, {"kind": "weights", "protocol": step, "before": before}),
        "one step of FedAvg": (after, {"kind": "weights", "protocol": dia.FedAvg(learning_rate=0.1)}),
        "unknown rate": (after, {"kind": "weights"}),
    }  # fmt: skip
    few = FAST | {"max_iterations": 60}
    expected = dia.invert(client.model, gradient, **few)
    for name, (update, options) in forms.items():
        found = dia.invert(client.model, update, **few, **options)
        torch.testing.assert_close(found.images, expected.images, atol=0.02, rtol=0, msg=name)
        allowed = {"DataParallel": "prefix", "unknown rate": "learning_rate was not given"}
        assert all(allowed[name] in warning for warning in found.warnings if name in allowed), name
        assert bool(found.warnings) == (name in allowed), (name, found.warnings)


def test_before_replaces_the_models_weights() -> None:
    client = train_client()
    other = network()
    with torch.no_grad():
        other[1].weight.mul_(-1)
    r = dia.invert(other, client.gradient, before=client.before, **FAST)
    assert float(dia.score(r.images, client.images).ssim) > 0.95


@pytest.mark.parametrize("rates", [0.3, {"3": 0.3}, "unknown"])
def test_dropout_rates_may_be_said_or_unknown(rates: Any) -> None:
    client = train_client(network(0.3))
    r = dia.invert(network(0.0 if rates != "unknown" else 0.3), client.gradient, dropout_rates=rates, **FAST)
    assert float(dia.score(r.images, client.images).ssim) > 0.9


def test_a_client_in_eval_mode_drops_nothing() -> None:
    client = train_client(network().eval())
    r = dia.invert(client.model, client.gradient, client_mode="eval", **FAST)
    assert r.warnings == () and r.masks == {}
    assert float(dia.score(r.images, client.images).ssim) > 0.95


def test_several_local_steps_with_masks_of_their_own() -> None:
    client = train_client(lr=0.05, epochs=2)
    protocol = dia.FedAvg(learning_rate=0.05, epochs=2)
    r = dia.invert(client.model, client.after, kind="weights", protocol=protocol, **FAST)
    assert set(r.masks) == {"3[step 0]", "3[step 1]"}
    assert float(dia.score(r.images, client.images).ssim) > 0.9


def test_a_batch_is_scored_in_the_order_of_the_private_images() -> None:
    client = train_client(network(0.2), images=2)
    r = dia.invert(client.model, client.gradient, images=2, **FAST | {"max_iterations": 600})
    assert sorted(r.labels.tolist()) == sorted(client.labels.tolist())
    scores, backwards = dia.score(r.images, client.images), dia.score(r.images.flip(0), client.images)
    assert torch.equal(scores.ssim, backwards.ssim) and sorted(scores.order.tolist()) == [0, 1]
    assert float(scores.ssim.mean()) > 0.8


def test_the_analytic_attack_claims_what_it_proved() -> None:
    client = train_client()
    r = dia.invert(client.model, client.gradient, **FAST | {"method": "analytic"})
    assert r.claimed is not None and r.claimed.all() and r.stop_reason == "solved"
    assert float(dia.score(r.images, client.images).ssim) > 0.99


def test_progress_is_called_in_every_iteration() -> None:
    seen: list[tuple[int, float]] = []
    client = train_client()
    options = FAST | {"max_iterations": 7}
    dia.invert(client.model, client.gradient, progress=lambda *a: seen.append(a), **options)
    assert [iteration for iteration, _ in seen] == list(range(7)) and all(0 <= d <= 2 for _, d in seen)


def test_the_twin_tells_whether_the_setting_leaks() -> None:
    client = train_client()
    good = dia.invert(client.model, client.gradient, twin=True, **FAST)
    assert good.twin is not None and float(good.twin.scores.ssim) > 0.9 and good.warnings == ()
    bad = dia.invert(
        client.model, client.gradient, twin=True, **FAST | {"method": "ig", "max_iterations": 50}
    )
    assert any(warning.startswith("twin:") for warning in bad.warnings)


def test_frozen_parameters_are_not_sent() -> None:
    client = train_client()
    model = network()
    model[4].requires_grad_(False)
    gradient = {name: value for name, value in client.gradient.items() if not name.startswith("4")}
    r = dia.invert(model, gradient, labels=client.labels, **FAST)
    assert float(dia.score(r.images, client.images).ssim) > 0.9


def test_batch_norm_in_train_mode_is_replayed_and_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(576, CLASSES),
    )  # fmt: skip
    client = train_client(model, images=2)
    assert int(client.after["1.num_batches_tracked"]) == 1
    r = dia.invert(model, client.after, images=2, labels=client.labels, kind="weights",
                   protocol=dia.FedSGD(learning_rate=0.1), **FAST | {"max_iterations": 30})  # fmt: skip
    assert any("BatchNorm in train mode (1)" in warning for warning in r.warnings)
    assert r.distance < 0.3


@pytest.mark.parametrize("bias", [True, False])
def test_sound_updates_of_dark_images_raise_no_doubt(bias: bool) -> None:
    """Their normalised pixels point away from those of bright images, and so do the gradients of the first layer."""
    stroke = torch.zeros(1, *SHAPE)
    stroke[..., 5:7, 3:9] = 1
    for seed in range(12):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(144, 64), nn.GELU(), nn.Dropout(0.5), nn.Linear(64, CLASSES, bias=bias)
        )
        loss = nn.functional.cross_entropy(model((stroke - 0.15) / 0.3), torch.tensor([seed % CLASSES]))
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        r = dia.invert(
            model, gradient, labels=[seed % CLASSES], **FAST | {"max_iterations": 1, "mean": 0.15, "std": 0.3}
        )
        assert [w for w in r.warnings if "do not explain" not in w] == []


def test_a_hidden_layer_with_as_many_inputs_as_pixels_shows_none() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.GELU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, CLASSES)
    )
    with torch.no_grad():
        model[0].weight.mul_(20)  # features far from [0, 1]
    client = train_client(model)
    r = dia.invert(model, client.gradient, **FAST | {"max_iterations": 1})
    assert not any("shows has pixels" in warning for warning in r.warnings)


def test_a_result_prints_without_its_tensors() -> None:
    client = train_client()
    text = repr(dia.invert(client.model, client.gradient, **FAST | {"max_iterations": 2}, twin=True))
    assert "distance=" in text and "warnings=" in text and len(text.replace("\n", "")) < 2000


def test_scores_refuse_normalised_images() -> None:
    client = train_client()
    with pytest.raises(ValueError, match=r"private ones \(1, 12, 12, 1\); both must be \(N, C, H, W\)"):
        dia.score(client.images, client.images.permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match=r"not in|in \[0, 1\]"):
        dia.score((client.images - MEAN) / STD, client.images)
