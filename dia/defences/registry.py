"""Defences, in the order in which a client applies them.

1. Clipping comes first, because noise is calibrated to a bounded norm (DP-SGD).
2. Noise.
3. Pruning, and 4. quantisation, are compression: they come last, as it is their result that goes over the wire. What
   follows the noise only processes a noisy gradient further, so a guarantee that clipping and noise give is kept.

A new defence is a file with a function ``(gradient, value, rngs) -> gradient``, a setting in
:class:`dia.settings.defences.DefenceSettings` whose default means "off", and an entry here at its place in the order.
"""

DEFENCES: dict[str, str] = {
    "defence_clip_norm": "dia.defences.clip:clip",
    "defence_noise_std": "dia.defences.noise:add_noise",
    "defence_keep_fraction": "dia.defences.prune:prune",
    "defence_quantisation": "dia.defences.quantise:quantise",
}
"""Setting -> function, ``module:name`` (see :func:`dia.utils.lazy_import.load_object`)."""
