"""The names that `import nst` gives, and the imports that it avoids."""

import pytest

from helpers.shell import shell


def test_importing_nst_imports_no_torch():
    code = (
        "import sys, nst\n"
        "nst.StyleSettings.preset('classic'), nst.StyleTransferError, nst.PRESETS\n"
        "assert not {'torch', 'torchvision', 'PIL', 'numpy'} & set(sys.modules)"
    )
    result = shell("-c", code)
    assert result.returncode == 0, result.stderr


def test_the_package_has_all_its_names_after_any_other_import():
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


def test_an_unknown_name_raises_an_attribute_error():
    import nst

    with pytest.raises(AttributeError, match="paint"):
        _ = nst.paint
