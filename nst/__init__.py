"""Neural style transfer (Gatys et al. 2016) with a VGG19 trained on CIFAR-100.

    from nst import stylize, StyleSettings

    for step in stylize("photo.jpg", "painting.jpg", StyleSettings.preset("balanced")):
        print(step.step, step.total_loss)
    step.image.save("result.png")
"""

import importlib

# Imported when first asked for: `import nst` alone must not wait for torch.
_HOMES = {
    "StyleTransferError": "nst.errors",
    "StyleSettings": "nst.settings",
    "Stage": "nst.settings",
    "PRESETS": "nst.settings",
    "DEFAULT_PRESET": "nst.settings",
    "load_picture": "nst.images",
    "load_with_opacity": "nst.images",
    "image_processing": "nst.images",
    "deprocess_image": "nst.images",
    "VGG19": "nst.vgg",
    "Vgg19": "nst.vgg",
    "load_backbone": "nst.backbones",
    "content_loss": "nst.losses",
    "gram_matrix": "nst.losses",
    "laplacian": "nst.losses",
    "laplacian_loss": "nst.losses",
    "style_loss": "nst.losses",
    "total_variation": "nst.losses",
    "computing": "nst.hardware",
    "estimate": "nst.estimation",
    "check_memory": "nst.estimation",
    "stylize": "nst.stylization",
    "Style": "nst.stylization",
    "Step": "nst.stylization",
    "RunState": "nst.stylization",
    "PaintingRecipe": "nst.provenance",
    "describe": "nst.provenance",
    "read_recipe": "nst.provenance",
    "save_result": "nst.results",
    "unrounded": "nst.results",
    "Film": "nst.film",
    "feature_maps": "nst.views",
    "reconstruct": "nst.views",
    "synthesise": "nst.views",
    "ImageDataset": "nst.data",
}
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'nst' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
