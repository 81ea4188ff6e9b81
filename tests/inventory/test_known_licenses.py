from __future__ import annotations

import pytest

from envbuilder.inventory.known_licenses import CUDA_TOOLKIT, NVIDIA_TERMS, PROPRIETARY, expression_of_text
from envbuilder.inventory.license import to_expression
from tests.helpers.inventories import BSD, CUDA_EULA, MIT, Package, component


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        (MIT, "MIT"),
        (BSD, "BSD-3-Clause"),
        (BSD.replace("* Neither the name", "* Nothing"), "BSD-2-Clause"),
        (f"# Comment\n# {BSD}", "BSD-3-Clause"),
        ("   Apache License\n  Version 2.0, January 2004\n http://www.apache.org", "Apache-2.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007", "LGPL-3.0-only"),
        ("GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007", "GPL-3.0-only"),
        # What comes first is its own; what a list says of bundled code is added.
        (f"{MIT}\n{'-' * 2000}\n{BSD}", "MIT"),
        (
            f"{BSD}\nName: OpenBLAS\nLicense: BSD-3-Clause\n\nName: GCC\n  License: GPL-3.0-with-GCC-exception\n",
            "BSD-3-Clause AND GPL-3.0-with-GCC-exception",
        ),
        ("All rights reserved.", None),
        ("", None),
    ],
)
def test_texts_are_known_by_their_words(text: str, expression: str | None) -> None:
    assert expression_of_text(text) == expression


@pytest.mark.parametrize(
    ("headers", "licences", "expression"),
    [
        (["License: LicenseRef-NVIDIA-Proprietary"], {"licenses/License.txt": CUDA_EULA}, CUDA_TOOLKIT),
        (["License-Expression: LicenseRef-NVIDIA-Proprietary"], {"License.txt": CUDA_EULA}, CUDA_TOOLKIT),
        (["License-Expression: LicenseRef-NVIDIA-Proprietary"], {}, PROPRIETARY),
        (["License: NVIDIA Proprietary Software"], {}, PROPRIETARY),
        (
            ["License: NVIDIA Proprietary Software"],
            {
                "License.txt": "cuDNN SUPPLEMENT TO\nSOFTWARE LICENSE AGREEMENT FOR NVIDIA SOFTWARE DEVELOPMENT KITS"
            },
            "LicenseRef-NVIDIA-cuDNN-SLA",
        ),
        (
            ["Classifier: License :: Other/Proprietary License"],
            {"License.txt": "SOFTWARE LICENSE AGREEMENT FOR NVIDIA SOFTWARE DEVELOPMENT KITS"},
            "LicenseRef-NVIDIA-SDK-SLA",
        ),
        # nvidia-nvtx is NVIDIA's, and free all the same.
        (["License: Apache 2.0", "Classifier: License :: Other/Proprietary License"], {}, "Apache-2.0"),
    ],
)
def test_nvidias_own_terms_are_named(headers: list[str], licences: dict[str, str], expression: str) -> None:
    found = component(Package(name="nvidia-x", headers=headers, licences=licences)).licence
    assert found.expression == expression
    assert found.terms == NVIDIA_TERMS.get(expression)
    assert (found.terms is None) == (expression == "Apache-2.0")


def test_every_name_of_nvidias_terms_is_an_spdx_expression() -> None:
    assert [to_expression(name) for name in NVIDIA_TERMS] == list(NVIDIA_TERMS)
