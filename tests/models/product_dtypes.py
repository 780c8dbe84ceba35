"""In which dtype a traced program multiplies matrices and convolves."""

import pathlib

from hybrid_jax.programs.jaxprs import bodies

_PRODUCTS = ("dot_general", "conv_general_dilated")
# Where places in an image are computed, for which bfloat16 has too few digits.
_OF_PLACES = {"deformable.py"}


def float32_products(jaxpr, *, caller: str | None = None) -> list[str]:
    """Returns file and line of each product of a float32 array.

    Not of those that ask for the highest precision or compute places: they are meant so.

    Args:
        caller: file and line that use these equations, where they do not tell it.
    """
    found = []
    for equation in jaxpr.eqns:
        place = caller or _place(equation)
        for body in bodies(equation.params.values()):
            # JAX traces the body of a derivative rule once for several callers.
            shared = equation.primitive.name == "custom_jvp_call"
            found += float32_products(body, caller=place if shared else caller)
        if equation.primitive.name not in _PRODUCTS:
            continue
        if all(operand.aval.dtype != "float32" for operand in equation.invars):
            continue
        if "HIGHEST" in str(equation.params["precision"]):
            continue
        if place.partition(":")[0] not in _OF_PLACES:
            found.append(place)
    return found


def _place(equation) -> str:
    """Returns file and line of the layer that an equation belongs to."""
    for frame in equation.source_info.traceback.frames:
        path = pathlib.Path(frame.file_name)
        if "site-packages" not in path.parts and path.name != "matmul.py":
            return f"{path.name}:{frame.line_num}"
    return "an unknown place"
