"""What `import nst` gives, and what it waits for."""

import pytest

from helpers.shell import shell


def test_importing_nst_waits_for_no_torch():
    code = (
        "import sys, nst\n"
        "nst.StyleSettings.preset('classic'), nst.StyleTransferError, nst.PRESETS\n"
        "assert not {'torch', 'torchvision', 'PIL', 'numpy'} & set(sys.modules)"
    )
    result = shell("-c", code)
    assert result.returncode == 0, result.stderr


def test_names_come_from_the_package_whatever_was_imported_before():
    code = (
        "import nst.stylization\n"
        "from nst import StyleSettings, load_backbone, stylize\n"
        "import nst\n"
        "assert stylize is nst.stylization.stylize and callable(load_backbone)\n"
        "assert all(getattr(nst, name) is not None for name in nst.__all__)\n"
        "print(StyleSettings().size)"
    )
    result = shell("-c", code)
    assert (result.returncode, result.stdout) == (0, "512\n"), result.stderr


def test_unknown_names_are_attribute_errors():
    import nst

    with pytest.raises(AttributeError, match="paint"):
        _ = nst.paint
