"""Operations whose first and second derivatives are written out.

Gradient matching differentiates twice. Torch derives the second derivative of GELU, layer normalisation and
attention by rules that make many passes over memory; here each is a pair of autograd functions with the fewest.
They compute what torch's own operations compute (tests: ``gradgradcheck``, and whole models against double backward);
the second derivative itself is not differentiable again.
"""
