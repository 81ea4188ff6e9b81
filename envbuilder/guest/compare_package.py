"""Compare a package with eager before it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .equality import differences, largest_difference

if TYPE_CHECKING:
    from _torch_runtime.engine import Engine
    from _torch_runtime.package import Package


class Trial:
    """The package at *path* of a model that the runtime has loaded eagerly; *sizes* are the batch sizes to try."""

    def __init__(self, engine: Engine, path: str, sizes: list[int], refusal: type[Exception]) -> None:
        self.engine, self.model, self.path, self.sizes, self.refusal = (
            engine,
            engine.model,
            path,
            sizes,
            refusal,
        )

    def compare(self, key: dict[str, Any]) -> float:
        """Compare the package with eager, for several sizes of the batch and of each other variable dim.

        Export does not guarantee a size of 1: if its outputs are wrong, it is removed from the *key*.

        Returns: the largest difference.
        """
        worst = 0.0
        trial = {**key, "variants": [self.from_one(variant) for variant in key["variants"]]}
        package = self.engine.packages.load(self.path, trial)
        for variant, tried in zip(key["variants"], trial["variants"]):
            wrong_with: list[set[str]] = []
            for sizes in self.sweep(tried):
                difference, texts = self.ask(package, tried, sizes)
                ones = {name for name, size in sizes.items() if size == 1}
                if texts and not ones:
                    raise self.refusal(
                        f"its outputs differ from eager, for sizes {sizes}: {'; '.join(texts)}"
                    )
                if texts:
                    wrong_with.append(ones)
                else:
                    worst = max(worst, difference)
            for name, (least, _) in tried["ranges"].items():
                if least == 1 and not any(name in ones for ones in wrong_with):
                    variant["ranges"][name][0] = 1
        return worst

    def accepts_other_weights(self, key: dict[str, Any]) -> bool:
        """Return whether the package is still correct after the weights change, so that none is built in."""
        tensors = list(self.model.weights().values())
        before = [tensor.detach().clone() for tensor in tensors]
        package = self.engine.packages.load(self.path, key)
        try:
            for tensor in tensors:
                if tensor.is_floating_point():
                    tensor.data.mul_(1.1).add_(0.01)
            variant = key["variants"][0]
            return not any(self.ask(package, variant, sizes)[1] for sizes in self.sweep(variant)[:2])
        finally:
            for tensor, old in zip(tensors, before):
                tensor.data.copy_(old)

    def from_one(self, variant: dict[str, Any]) -> dict[str, Any]:
        """Return *variant* with ranges that begin at 1 instead of 2."""
        ranges = {
            name: [1 if least == 2 else least, most] for name, (least, most) in variant["ranges"].items()
        }
        return {**variant, "ranges": ranges}

    def sweep(self, variant: dict[str, Any]) -> list[dict[str, int]]:
        """Return the sizes to try for each variable dim."""
        batches = {
            shape[0] for shape in variant["dims"] if self.model.max_batch and isinstance(shape[0], str)
        }
        usual: dict[str, int] = {}
        fields = [field for field, there in zip(self.model.inputs, variant["present"]) if there]
        for field, shape in zip(fields, variant["dims"]):
            example = self.model.example(field, 2)
            usual.update({name: size for name, size in zip(shape, example.shape) if isinstance(name, str)})
        usual.update(dict.fromkeys(batches, min(2, self.model.max_batch)))
        cases = [{**usual, **dict.fromkeys(batches, size)} for size in self.sizes]
        for name in sorted(set(usual) - batches):
            least, most = variant["ranges"][name]
            others = {1, 2, 3, usual[name] + 5, 2 * usual[name]}
            for size in sorted(size for size in others if size >= least and (most is None or size <= most)):
                cases += [{**usual, name: size}, {**usual, **dict.fromkeys(batches, 1), name: size}]
        return [case for case in cases if all(self.in_range(variant, *one) for one in case.items())]

    def in_range(self, variant: dict[str, Any], name: str, size: int) -> bool:
        """Return whether a dim may have *size*."""
        least, most = variant["ranges"][name]
        return bool(size >= least and (most is None or size <= most))

    def ask(
        self, package: Package, variant: dict[str, Any], sizes: dict[str, int]
    ) -> tuple[float, list[str]]:
        """Run both with *sizes*; return the largest difference, and a description of mismatches."""
        given = iter(variant["dims"])
        values = []
        for seed, (field, there) in enumerate(zip(self.model.inputs, variant["present"])):
            shape = [sizes.get(size, size) for size in next(given)] if there else None
            values.append(None if shape is None else self.values(field, shape, seed))
        try:
            wanted = self.engine.arrays(self.model, values)
        except Exception:
            return 0.0, []  # a size that the model itself does not accept
        if not package.takes(self.model.tensors(values)):
            raise self.refusal(f"the package does not accept sizes {sizes}")
        found = self.engine.arrays(package, values)
        texts = differences(found, wanted, self.model.rough)
        return (largest_difference(found, wanted) if not texts else 0.0), texts

    def values(self, field: Any, shape: list[int], seed: int) -> Any:
        """Return random values for an input, the same each time.

        Integers are 0 and 1, valid indexes into anything.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        dtype = torch.as_tensor(self.model.example(field, 1)).dtype
        if dtype.is_floating_point:
            return torch.randn(shape, generator=generator).to(dtype)
        return torch.randint(0, 2, shape, generator=generator).to(dtype)
