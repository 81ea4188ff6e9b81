from __future__ import annotations

import pytest

from tests.helpers.inventories import BSD, MIT, Package, component


@pytest.mark.parametrize(
    ("headers", "expression", "source"),
    [
        (["License-Expression: mit or apache-2.0"], "MIT OR Apache-2.0", "License-Expression"),
        (["License-Expression: MIT", "License: GPLv3"], "MIT", "License-Expression"),
        (["License: BSD-3-Clause"], "BSD-3-Clause", "License"),
        (["License: Apache 2.0"], "Apache-2.0", "License"),
        (["License: Apache License, Version 2.0"], "Apache-2.0", "License"),
        (["License: 3-Clause BSD License"], "BSD-3-Clause", "License"),
        (["License: LGPLv3"], "LGPL-3.0-only", "License"),
        (["License: PSFL"], "PSF-2.0", "License"),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT", "classifiers"),
        (
            [
                "License: UNKNOWN",
                "Classifier: License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
                "Classifier: License :: OSI Approved :: MIT License",
            ],
            "MIT AND MPL-2.0",
            "classifiers",
        ),
        (["License: MIT", "Classifier: License :: Other/Proprietary License"], "MIT", "License"),
    ],
)
def test_what_metadata_declares(headers: list[str], expression: str, source: str) -> None:
    found = component(Package(name="alpha", headers=headers)).licence
    assert (found.expression, found.source) == (expression, source)


@pytest.mark.parametrize(
    ("headers", "said", "source"),
    [
        ([], "", "nothing"),
        (["License: UNKNOWN"], "", "nothing"),
        (["License: BSD"], "BSD", "License"),
        (["License: Free for friends"], "Free for friends", "License"),
        (["License-Expression: MIT AND"], "MIT AND", "License-Expression"),
        (["License-Expression: Nobody-1.0"], "Nobody-1.0", "License-Expression"),
        (["Classifier: License :: OSI Approved :: BSD License"], "BSD License", "classifiers"),
        (["Classifier: License :: OSI Approved"], "", "nothing"),
        (["License: " + "Long words. " * 20], ("Long words. " * 20)[:69] + "…", "License"),
    ],
)
def test_what_leaves_a_doubt_stays_words(headers: list[str], said: str, source: str) -> None:
    found = component(Package(name="alpha", headers=headers)).licence
    assert (found.expression, found.declared, found.source) == (None, said, source)
    assert found.name == (said or "no licence")


def test_a_vague_name_is_settled_by_the_licence_file() -> None:
    headers = ["License: BSD", "Classifier: License :: OSI Approved :: BSD License"]
    found = component(Package(name="alpha", headers=headers, licences={"LICENSE": BSD})).licence
    assert (found.expression, found.declared, found.source) == ("BSD-3-Clause", "BSD", "licence file")
    assert found.files == ("lib/python3.11/site-packages/alpha-1.0.dist-info/LICENSE",)


def test_two_licence_files_that_differ_settle_nothing() -> None:
    licences = {"licenses/LICENSE.MIT": MIT, "licenses/LICENSE.BSD": BSD}
    assert component(Package(name="alpha", licences=licences)).licence.expression is None
    bundled = {"licenses/LICENSE": MIT, "licenses/vendor/x/LICENSE": BSD, "licenses/AUTHORS": "Nobody"}
    assert component(Package(name="alpha", licences=bundled)).licence.expression == "MIT"
