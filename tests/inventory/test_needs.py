from __future__ import annotations

from packaging.metadata import parse_email

from envbuilder.inventory.needs import Distribution, Needs


def distribution(
    name: str, *requires: str, folder: str = "lib/python3.11/site-packages/x.dist-info"
) -> Distribution:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        "Version: 1.0",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    return Distribution(folder=folder, metadata=parse_email("\n".join(lines))[0], texts={})


def test_what_is_there_and_holds_on_its_platform() -> None:
    alpha = distribution(
        "Alpha_A",
        "beta[fast]>=1",
        "gamma; sys_platform == 'win32'",
        "delta; extra == 'more'",
        "gone",
        "no requirement at all!",
        "epsilon; python_full_version == '3.11.7'",
    )
    beta = distribution("beta", "zeta; extra == 'fast'", "alpha-a")
    purls = {name: f"pkg:{name}" for name in ("alpha-a", "beta", "gamma", "delta", "epsilon", "zeta")}
    needs = Needs({"alpha-a": alpha, "beta": beta}, purls, "3.11.7")
    assert needs.of("alpha-a") == {"pkg:beta", "pkg:epsilon", "pkg:zeta"}
    assert needs.of("beta") == {"pkg:alpha-a"}
    assert needs.of("unknown") == set()


def test_a_package_inside_another() -> None:
    assert distribution("Alpha_A").project == "alpha-a"
    assert not distribution("a").is_bundled
    assert distribution("a", folder="lib/python3.11/site-packages/b/_vendor/a.dist-info").is_bundled
