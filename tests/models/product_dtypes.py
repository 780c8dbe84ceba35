"""In which dtype a traced program multiplies matrices and convolves."""

import pathlib

from hybrid_jax.programs.jaxprs import bodies

_PRODUCTS = ("dot_general", "conv_general_dilated")
# Where places in an image are computed, for which bfloat16 has too few digits.
_OF_PLACES = {"deformable.py"}


def float32_products(jaxpr) -> list[str]:
    """Returns file and line of each product of a float32 array.

    Not of those that ask for the highest precision or compute places: they are meant so.
    """
    found = []
    for equation in jaxpr.eqns:
        for body in bodies(equation.params.values()):
            found += float32_products(body)
        if equation.primitive.name not in _PRODUCTS:
            continue
        if all(operand.aval.dtype != "float32" for operand in equation.invars):
            continue
        if "HIGHEST" in str(equation.params["precision"]):
            continue
        frames = [
            (pathlib.Path(frame.file_name), frame.line_num)
            for frame in equation.source_info.traceback.frames
        ]
        own = [(path, line) for path, line in frames if "site-packages" not in path.parts]
        if not own or own[0][0].name not in _OF_PLACES:
            found.append(f"{own[0][0].name}:{own[0][1]}" if own else "an unknown place")
    return found
