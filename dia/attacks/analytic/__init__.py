"""Closed forms: what a gradient gives away without optimisation, dropout on and masks unknown; see README.md.

An iterative attack is worth its hours only where none of this applies:

* :mod:`~dia.attacks.analytic.vit`: a transformer with learnable positions, a linear system in the patches;
* :mod:`~dia.attacks.analytic.mlp`: a fully connected network, one image: a gradient of rank 1;
* :mod:`~dia.attacks.analytic.batch`: a fully connected network, several images, separated by their zeros.

The attack uses the received gradient as a matrix, never the factors that the engine may hold it in.
"""
