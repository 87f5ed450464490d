"""What a gradient gives away in closed form, dropout on and masks unknown.

An iterative attack is worth its hours only where none of this applies:

* :mod:`~dia.attacks.analytic.vit`: a transformer with learnable positions, a linear system in the patches;
* :mod:`~dia.attacks.analytic.mlp`: a fully connected network, one image: rank 1, and masks in plain sight;
* :mod:`~dia.attacks.analytic.batch`: a fully connected network, several images: dropout takes them apart.

The attack uses the received gradient as a matrix, never the factors that the engine may hold it in.
"""
