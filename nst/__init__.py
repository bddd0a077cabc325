"""Neural style transfer (Gatys et al. 2016) with a VGG19 trained on CIFAR-100.

    from nst import stylize, StyleSettings

    for step in stylize("photo.jpg", "painting.jpg", StyleSettings.preset("balanced")):
        print(step.step, step.total_loss)
    step.image.save("result.png")
"""

import importlib

# Each name is imported when it is first used, so that `import nst` alone does not wait for torch.
_MODULES = {
    "StyleTransferError": "nst.errors",
    "StyleSettings": "nst.settings",
    "Stage": "nst.settings",
    "PRESETS": "nst.settings",
    "DEFAULT_PRESET": "nst.settings",
    "load_picture": "nst.io.reading",
    "load_photo": "nst.io.reading",
    "load_with_opacity": "nst.io.reading",
    "image_processing": "nst.io.tensors",
    "deprocess_image": "nst.io.tensors",
    "VGG19": "nst.models.vgg",
    "Vgg19": "nst.models.vgg",
    "load_backbone": "nst.models.checkpoints",
    "content_loss": "nst.losses",
    "gram_matrix": "nst.losses",
    "laplacian": "nst.losses",
    "laplacian_loss": "nst.losses",
    "style_loss": "nst.losses",
    "total_variation": "nst.losses",
    "computing": "nst.engine.hardware",
    "estimate": "nst.estimation",
    "check_memory": "nst.estimation",
    "stylize": "nst.stylization",
    "StrengthMixer": "nst.strength",
    "mix_steps": "nst.strength",
    "with_strength": "nst.strength",
    "VARIATIONS": "nst.variations",
    "paint_together": "nst.variations",
    "vary": "nst.variations",
    "stylize_video": "nst.video.painting",
    "Style": "nst.pictures",
    "Step": "nst.step",
    "enlarged": "nst.enlargement",
    "SavedStyle": "nst.saved_style",
    "load_style": "nst.saved_style",
    "save_style": "nst.tools.style_files",
    "RunState": "nst.run_state",
    "PaintingRecipe": "nst.output.recipe",
    "describe": "nst.output.recipe",
    "read_recipe": "nst.output.recipe",
    "save_result": "nst.output.results",
    "unrounded": "nst.output.results",
    "Film": "nst.output.film",
    "feature_maps": "nst.tools.inspection",
    "reconstruct": "nst.tools.inspection",
    "find_subject": "nst.tools.subject",
    "synthesise": "nst.tools.inspection",
    "synthesize": "nst.tools.inspection",
    "ImageDataset": "nst.training.data",
}
__all__ = sorted(_MODULES)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'nst' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
