"""What a client does against leakage besides dropout: one file a defence, always applied in the same order.

Clip, add noise, prune, quantise. Clipping comes first because noise is calibrated to a bounded norm (DP-SGD), and
compression last because it is what goes over the wire; whatever follows the noise only processes a noisy gradient
further, so a guarantee that clipping and noise give is kept.
"""
