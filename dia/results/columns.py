"""The columns of a row: the one list that writing, reading and the documentation share.

A row is one victim of one cell. The columns are fixed but for the settings, which follow the configuration:
each field of ``dia.settings.scenario.Settings`` is a column of the same name, so that no setting can change a number
without showing in the row.
"""

import types
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa

if TYPE_CHECKING:
    from pydantic import BaseModel

FORMAT = 2  # raised when a file of an older format can no longer be read

TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "list[int32]": pa.list_(pa.int32()),
    "list[int64]": pa.list_(pa.int64()),
    "list[float32]": pa.list_(pa.float32()),
    "list[float64]": pa.list_(pa.float64()),
    "list[binary]": pa.list_(pa.binary()),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, group, type (a key of ``TYPES``), meaning, and whether a value may be absent."""

    name: str
    group: str
    type: str
    meaning: str
    nullable: bool = False

    @property
    def field(self) -> pa.Field:
        """The column as pyarrow sees it."""
        return pa.field(self.name, TYPES[self.type], nullable=self.nullable)


def _group(group: str, *columns: tuple[str, str, str], nullable: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, group, kind, meaning, nullable) for name, kind, meaning in columns)


IDENTITY = _group(
    "identity",
    ("cell_id", "str", "the cell's canonical id"),
    ("scenario", "str", "named block of settings of client and attacker"),
    ("dataset", "str", "name of the data set in the configuration"),
    ("model", "str", "architecture"),
    ("dropout_rate", "str", "dropout rate p, as written in the grid"),
    ("attack", "str", "attack"),
    ("seed", "int64", "seed of weights, client masks and starting images"),
)
MODEL = _group(
    "model",
    (
        "model_definition",
        "str",
        "factory, arguments and source fingerprint of a user's own model, as JSON; empty for a built-in architecture",
    ),
)
VICTIM = (
    *_group("victim", ("victim_id", "str", "number of the victim in its cell, zero-padded")),
    *_group(
        "victim",
        (
            "labels",
            "list[int32]",
            "class of each image of the victim; known or inferred for a received update, absent where it was refused",
        ),
        nullable=True,
    ),
    *_group(
        "victim",
        ("source", "str", "where the images come from"),
        ("source_indices", "list[int64]", "index of each image in its source"),
        ("victims_sha256", "str", "hash of the victim set's content"),
    ),
    *_group(
        "victim",
        ("update_file", "str", "file of the update that a real client sent; absent for a simulated client"),
        ("update_sha256", "str", "hash of that file"),
        nullable=True,
    ),
)
OF_RECONSTRUCTION = _group(
    "scores",
    ("mse", "float64", "mean squared error on [0, 1] images, mean over the victim's images"),
    ("psnr", "float64", "peak signal-to-noise ratio in dB on [0, 1] images"),
    ("ssim", "float64", "structural similarity on [0, 1] images"),
    ("success", "float64", "fraction of the victim's images with SSIM >= success_min_ssim"),
    ("mse_per_image", "list[float64]", "mse of each image"),
    ("psnr_per_image", "list[float64]", "psnr of each image"),
    ("ssim_per_image", "list[float64]", "ssim of each image"),
    (
        "mse_normalised",
        "float64",
        "mean squared error in the model's normalised space (to compare with released runs)",
    ),
    ("matching_distance", "float64", "gradient distance of the kept iterate, without priors and penalties"),
    ("total_loss", "float64", "best loss, total variation and mask penalty included"),
    ("best_iteration", "int64", "iteration whose result was kept"),
    (
        "identified",
        "float64",
        "fraction of the victim's images that are, of all private images of the cell, the nearest (by mse) to one of "
        "its reconstructions",
    ),
    nullable=True,
)
"""Absent, all of them, for a victim without a reconstruction: one that failed, or that the attack does not apply to."""
AGAINST_TRUTH = tuple(
    column
    for column in OF_RECONSTRUCTION
    if column.name not in ("matching_distance", "total_loss", "best_iteration")
)
"""Those of them that a reconstruction lacks, too, where nobody has the private images."""
SCORES = OF_RECONSTRUCTION + _group(
    "scores",
    ("iterations", "int64", "iterations done"),
    ("restart", "int64", "which of the attack's starts was kept, from 0"),
    (
        "stop_reason",
        "str",
        "why the attack ended; not_applicable: ..., failed: ... or refused: ... where there is no reconstruction",
    ),
    ("seconds", "float64", "this victim's share of the attack's wall time"),
    ("notes", "str", "announcements, such as doubts about a received update; empty where there are none"),
)
CHANCE = _group(
    "chance",
    (
        "gradient_norm",
        "float64",
        "norm of the client gradient over all parameters, as the server receives it; absent where it is not finite",
    ),
    ("identified_chance", "float64", "what reconstructions that know nothing of the victim give, expected"),
    (
        "lpips",
        "float64",
        "perceptual distance by the setting lpips_network, mean over the images; absent without",
    ),
    ("mse_mean_image", "float64", "mse of the victim set's mean image taken as the reconstruction"),
    ("psnr_mean_image", "float64", "psnr of the victim set's mean image"),
    ("ssim_mean_image", "float64", "ssim of the victim set's mean image"),
    ("mse_same_class", "float64", "mse of another image of the same class; absent where there is none"),
    ("psnr_same_class", "float64", "psnr of another image of the same class"),
    ("ssim_same_class", "float64", "ssim of another image of the same class"),
    (
        "mask_accuracy",
        "float64",
        "fraction of recovered mask entries, of those that can influence the gradient",
    ),
    ("mask_accuracy_chance", "float64", "what guessing the more frequent value gives"),
    (
        "dropout_rate_estimate",
        "float64",
        "fraction of those mask entries that the recovered masks drop; absent where no masks are sought",
    ),
    (
        "claimed_fraction",
        "float64",
        "fraction of the victim's images that the attack itself knows to have recovered; absent where it cannot know",
    ),
    (
        "worst_claim_cosine",
        "float64",
        "smallest absolute cosine of a claimed image with the nearest private one",
    ),
    (
        "label_accuracy",
        "float64",
        "fraction of inferred labels that are right; absent where labels are known",
    ),
    ("label_accuracy_chance", "float64", "what drawing as many classes at random gives, expected"),
    (
        "test_accuracy",
        "float64",
        "accuracy of the attacked model on test images; absent where it is untrained",
    ),
    ("test_accuracy_chance", "float64", "what always guessing the most frequent class gives"),
    nullable=True,
)
HISTORY = _group(
    "history",
    (
        "history_iteration",
        "list[int32]",
        "iterations at which the curves below were sampled; none of a victim that failed",
    ),
    ("history_total_loss", "list[float32]", "total loss"),
    ("history_matching_distance", "list[float32]", "gradient distance"),
    ("history_mse", "list[float32]", "mse on [0, 1] images; empty where nobody has the private images"),
    ("history_mask_accuracy", "list[float32]", "mask accuracy; empty where the attack has no masks to find"),
)
PROVENANCE = _group(
    "provenance",
    ("dia_version", "str", "version of this package"),
    ("torch_version", "str", "version of torch"),
    ("python_version", "str", "version of Python"),
    ("device", "str", "device type that computed the cell"),
    ("device_name", "str", "name of that device"),
    ("threads", "int64", "intra-op threads"),
    (
        "victims_per_chunk",
        "int64",
        "victims attacked at once, at most; after running out of memory the smaller number",
    ),
    ("victims_per_chunk_setting", "str", "how that number was set: auto, or the number asked for"),
    ("compiled", "bool", "whether the loss and its gradients were computed by a compiled graph, throughout"),
    ("compile_setting", "str", "how that was set: auto, true or false"),
    ("compile_fallback", "str", "why nothing was compiled, or not all; empty where nothing stood against it"),
    (
        "cuda_graph",
        "bool",
        "whether the loss and its gradients were replayed as a CUDA graph, as long as that worked",
    ),
    (
        "cuda_graph_fallback",
        "str",
        "why not, or not to the end; empty where it was not asked for or nothing stood against it",
    ),
    ("peak_memory_mb", "float64", "peak memory in MiB: CUDA's where the device is one, else the process's"),
    ("host", "str", "name of the machine"),
    (
        "git_commit",
        "str",
        "commit of the checkout, -dirty where the package was edited since; unknown without git",
    ),
    ("code_fingerprint", "str", "hash of the code that determines a cell's numbers"),
    ("started_at", "str", "start of the cell, ISO 8601 in UTC"),
)
PICTURES = (
    *_group("pictures", ("image_shape", "list[int32]", "(N, C, H, W) of the two flattened arrays")),
    *_group(
        "pictures",
        ("original", "list[float32]", "private images in [0, 1], flattened; absent where nobody has them"),
        ("original_png", "list[binary]", "each private image as PNG"),
        ("reconstruction", "list[float32]", "reconstructions in [0, 1], flattened, matched to the originals"),
        ("reconstruction_png", "list[binary]", "each reconstruction as PNG"),
        nullable=True,
    ),
)

COLUMNS: tuple[Column, ...] = IDENTITY + MODEL + VICTIM + SCORES + CHANCE + HISTORY + PROVENANCE + PICTURES
"""All columns but the settings (see ``settings_columns``)."""


def _column_type(annotation: Any) -> tuple[str, bool]:
    """The column type of a settings annotation, and whether None is allowed."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _column_type(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        nullable = len(inner) < len(get_args(annotation))
        kinds = {_column_type(a)[0] for a in inner}
        return (kinds.pop() if len(kinds) == 1 else "str"), nullable
    if origin is Literal:
        kinds = {_column_type(type(a))[0] for a in get_args(annotation)}
        return (kinds.pop() if len(kinds) == 1 else "str"), False
    return {int: "int64", float: "float64", bool: "bool", str: "str"}.get(annotation, "str"), False


def settings_columns(settings: "type[BaseModel] | None" = None) -> tuple[Column, ...]:
    """One column per settings field; what is no plain number, flag or text is stored as canonical JSON text.

    Args:
        settings: The pydantic model; ``dia.settings.scenario.Settings`` by default.

    Raises:
        TypeError: A field has the name of a fixed column (a mistake in the code, not of a user).
    """
    if settings is None:
        from dia.settings.scenario import Settings

        settings = Settings
    fixed = {column.name for column in COLUMNS}
    if clash := fixed & set(settings.model_fields):
        raise TypeError(f"settings {sorted(clash)} have the names of fixed columns; rename them")
    columns = []
    for name, info in settings.model_fields.items():
        kind, nullable = _column_type(info.annotation)
        columns.append(Column(name, "settings", kind, info.description or "", nullable))
    return tuple(columns)


@cache
def schema() -> pa.Schema:
    """The schema of a cell file: identity, victim, settings, scores, curves, provenance, pictures."""
    start = len(IDENTITY + MODEL + VICTIM)
    columns = COLUMNS[:start] + settings_columns() + COLUMNS[start:]
    return pa.schema([column.field for column in columns])
