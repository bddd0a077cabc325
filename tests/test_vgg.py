"""VGG19 against torchvision's: the classifier, the extractor's layers, the folding, and frozen weights."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from nst.errors import StyleTransferError
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.layers import CHANNELS, LAYERS
from nst.models.vgg import VGG19, Vgg19, fold_batch_norm

NORMALIZATION = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
# For each layer, by the papers' name, the position of its ReLU in torchvision's `vgg19().features`. Gatys' code
# publishes the same table.
RELU_POSITIONS = {
    "conv1_1": 1, "conv1_2": 3, "conv2_1": 6, "conv2_2": 8,
    "conv3_1": 11, "conv3_2": 13, "conv3_3": 15, "conv3_4": 17,
    "conv4_1": 20, "conv4_2": 22, "conv4_3": 24, "conv4_4": 26,
    "conv5_1": 29, "conv5_2": 31, "conv5_3": 33, "conv5_4": 35,
}  # fmt: skip


@pytest.fixture(scope="module")
def reference() -> nn.Sequential:
    """torchvision's layers with random weights and biases, and without operations in place."""
    torch.manual_seed(1)
    layers = make_layers(cfgs["E"]).eval()
    for module in layers:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return layers.requires_grad_(False)


@pytest.fixture(scope="module")
def network(reference) -> VGG19:
    network = VGG19(10)
    network.features.load_state_dict(reference.state_dict(), strict=True)
    return network.eval()


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.rand(1, 3, 34, 45, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def expected(reference, picture) -> dict[str, torch.Tensor]:
    return expected_layers(reference, picture)


def expected_layers(reference: nn.Sequential, x: torch.Tensor, pooling: type[nn.Module] = nn.MaxPool2d) -> dict:
    """Return the output of every ReLU by the papers' name of the layer."""
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    x = (x - mean) / std
    outputs = []
    for module in reference:
        x = pooling(2)(x) if isinstance(module, nn.MaxPool2d) else module(x)
        outputs.append(x)
    return {name: outputs[position] for name, position in RELU_POSITIONS.items()}


# Names and weights


@pytest.mark.parametrize("batch_norm, model", [(False, "vgg19"), (True, "vgg19_bn")])
def test_the_keys_and_shapes_of_the_convolutions_are_torchvisions(batch_norm, model):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, model)().features.state_dict()
        ours = VGG19(batch_norm=batch_norm).features.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_the_layers_have_the_papers_names_and_numbers_of_channels():
    assert set(LAYERS) == set(RELU_POSITIONS)
    assert list(LAYERS) == sorted(LAYERS)
    widths = dict(zip("12345", (64, 128, 256, 512, 512), strict=True))
    assert {name: widths[name[4]] for name in LAYERS} == CHANNELS


def test_the_convolutions_are_named_in_order(network, reference):
    convolutions = network.convolutions()
    assert list(convolutions) == list(LAYERS)
    for name, position in RELU_POSITIONS.items():
        assert torch.equal(convolutions[name].weight, reference[position - 1].weight)


# The classifier


def test_the_features_of_a_batch_norm_classifier_equal_torchvisions():
    """Weights of `vgg19_bn` load strictly and compute the same, so weights trained here fit torchvision's network."""
    torch.manual_seed(3)
    theirs = randomize(make_layers(cfgs["E"], batch_norm=True)).eval()
    ours = VGG19(10, batch_norm=True).eval()
    ours.features.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 32, 33)
    torch.testing.assert_close(ours.features(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_the_classifier_works_on_the_average_over_positions(network, reference):
    x = torch.randn(2, 3, 48, 64)
    first, _, _, last = network.classifier
    pooled = reference(x).mean((2, 3))
    expected = torch.relu(pooled @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("height, width", [(16, 16), (24, 24), (16, 40), (33, 47), (64, 64), (224, 224), (32, 224)])
def test_the_classifier_accepts_any_input_from_16_px(network, height, width):
    with torch.no_grad():
        logits = network(torch.randn(1, 3, height, width))
    assert logits.shape == (1, 10)
    assert logits.isfinite().all()


def test_the_classifier_has_the_requested_size():
    with torch.device("meta"):
        network = VGG19(7, hidden=33)
    assert network.classifier[0].weight.shape == (33, 512)
    assert network.classifier[-1].weight.shape == (7, 33)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == 16


def test_the_width_multiplies_the_channels_of_every_convolution():
    with torch.device("meta"):
        network, narrow = VGG19(7, batch_norm=True), VGG19(7, width=1 / 8, batch_norm=True)
    for convolution, thin in zip(network.convolutions().values(), narrow.convolutions().values(), strict=True):
        assert thin.out_channels == convolution.out_channels / 8
    assert narrow.classifier[0].weight.shape == (512, 64)


def test_a_new_network_keeps_the_scale_of_its_signal():
    """With a smaller initialization the signal of 19 layers fades to nothing, and the network does not train."""
    torch.manual_seed(0)
    with torch.no_grad():
        output = VGG19(10).features(torch.randn(1, 3, 64, 64))
    assert 0.05 < output.std() < 50


# The extractor


def test_every_layer_equals_torchvisions(network, expected, picture):
    """The test returns all sixteen layers at once. A ReLU in place must not overwrite a map that is returned."""
    features = Vgg19(network, LAYERS, **NORMALIZATION).extract_features(picture)
    assert list(features) == list(LAYERS)
    for name in LAYERS:
        torch.testing.assert_close(features[name], expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_single_layer_equals_torchvisions(network, expected, picture, layer):
    features = Vgg19(network, [layer], **NORMALIZATION)(picture)
    assert list(features) == [layer]
    block = int(layer[4]) - 1
    assert features[layer].shape == (1, CHANNELS[layer], 34 >> block, 45 >> block)
    torch.testing.assert_close(features[layer], expected[layer], rtol=1e-4, atol=1e-4)


def test_average_pooling_equals_torchs(network, reference, expected, picture):
    features = Vgg19(network, LAYERS, pooling="average", **NORMALIZATION)(picture)
    averaged = expected_layers(reference, picture, nn.AvgPool2d)
    for name in LAYERS:
        torch.testing.assert_close(features[name], averaged[name], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(averaged["conv2_1"], expected["conv2_1"], atol=0.1)


@pytest.mark.parametrize("trained_with, requested, pool", [
    ("max", None, nn.MaxPool2d), ("average", None, nn.AvgPool2d),
    ("max", "average", nn.AvgPool2d), ("average", "max", nn.MaxPool2d),
])  # fmt: skip
def test_the_pooling_is_the_networks_unless_another_is_requested(trained_with, requested, pool):
    with torch.device("meta"):
        network = VGG19(10, pooling=trained_with)
    extractor = Vgg19(network, ["conv2_1"], pooling=requested, **NORMALIZATION)
    assert type(extractor.pool) is pool
    assert [type(m) for m in network.features if "Pool" in type(m).__name__] == [
        nn.MaxPool2d if trained_with == "max" else nn.AvgPool2d
    ] * 5


def test_the_extractor_normalizes_its_input(network, expected, picture):
    """The picture is shifted so that normalizing it with other statistics gives what ImageNet's give."""
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    imagenet_mean, imagenet_std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    normalized = (picture - imagenet_mean) / imagenet_std
    shifted = normalized * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)
    features = Vgg19(network, ["conv2_2"], mean=mean, std=std)(shifted)
    torch.testing.assert_close(features["conv2_2"], expected["conv2_2"], rtol=1e-3, atol=1e-3)


def test_the_extractor_leaves_its_input_alone(network, picture):
    before = picture.clone()
    Vgg19(network, LAYERS, **NORMALIZATION)(picture)
    assert torch.equal(picture, before)


def test_order_and_repetition_of_names_do_not_matter(network, picture):
    features = Vgg19(network, ("conv3_1", "conv1_2", "conv3_1"), **NORMALIZATION)(picture)
    assert list(features) == ["conv1_2", "conv3_1"]


@pytest.mark.parametrize("layers, computed", [(["conv1_1"], 1), (["conv4_2", "conv1_1"], 10), (["conv5_4"], 16)])
def test_nothing_is_computed_beyond_the_deepest_layer(network, picture, layers, computed):
    extractor = Vgg19(network, layers, **NORMALIZATION)
    calls = []
    hooks = [m.register_forward_hook(lambda *_: calls.append(1)) for m in network.convolutions().values()]
    extractor(picture)
    for hook in hooks:
        hook.remove()
    assert len(calls) == computed
    assert len(extractor.convolutions) == computed


def test_the_weights_are_shared_and_frozen_and_the_gradient_reaches_the_pixels(network, picture):
    network = copy.deepcopy(network).requires_grad_(True).train()
    extractor = Vgg19(network, LAYERS, **NORMALIZATION)
    theirs = {p.data_ptr() for p in network.features.parameters()}
    assert {p.data_ptr() for p in extractor.parameters()} == theirs
    assert not extractor.training
    assert not any(p.requires_grad for p in extractor.parameters())
    pixels = picture.clone().requires_grad_()
    sum(f.square().mean() for f in extractor(pixels).values()).backward()
    assert all(p.grad is None for p in network.parameters())
    assert (pixels.grad != 0).float().mean() > 0.99


def test_the_gradient_equals_that_of_a_network_without_operations_in_place(network, reference, picture):
    extractor = Vgg19(network, ("conv1_1", "conv1_2", "conv2_1", "conv3_2"), **NORMALIZATION)
    ours, theirs = picture.clone().requires_grad_(), picture.clone().requires_grad_()
    sum(f.square().mean() for f in extractor(ours).values()).backward()
    expected = expected_layers(reference, theirs)
    sum(expected[name].square().mean() for name in extractor.required_layers).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5 * theirs.grad.abs().max().item())


def test_the_features_have_the_dtype_of_the_convolutions(network, expected, picture):
    network = copy.deepcopy(network).to(torch.bfloat16)
    features = Vgg19(network, ["conv2_1"], **NORMALIZATION)(picture)
    assert features["conv2_1"].dtype == torch.bfloat16
    difference = features["conv2_1"].float() - expected["conv2_1"]
    assert difference.abs().mean() < 0.02 * expected["conv2_1"].abs().mean()


def test_the_state_dict_holds_convolutions_only(network):
    state = Vgg19(network, ["conv1_1"], **NORMALIZATION).state_dict()
    assert state and all("convolutions" in key for key in state)


# Refusals


@pytest.mark.parametrize("layers", [["conv6_1"], ["conv4_2", "relu1_1"], ["conv1_3"], "conv1_1", [""]])
def test_an_unknown_layer_is_refused(network, layers):
    with pytest.raises(StyleTransferError, match="Unknown layer"):
        Vgg19(network, layers, **NORMALIZATION)


def test_an_empty_list_of_layers_is_refused(network):
    with pytest.raises(StyleTransferError, match="at least one layer"):
        Vgg19(network, [], **NORMALIZATION)


@pytest.mark.parametrize("layer, shortest", [("conv1_2", 1), ("conv2_1", 2), ("conv4_2", 8), ("conv5_4", 16)])
def test_a_picture_too_small_for_the_deepest_layer_is_refused(network, layer, shortest):
    extractor = Vgg19(network, [layer], **NORMALIZATION)
    assert min(extractor(torch.rand(1, 3, shortest, 40))[layer].shape[2:]) == 1
    if shortest > 1:
        for height, width in ((shortest - 1, 40), (40, shortest - 1)):
            with pytest.raises(StyleTransferError, match=rf"{width}x{height}.*at least {shortest} px"):
                extractor(torch.rand(1, 3, height, width))


@pytest.mark.parametrize("pooling", ["median", "Max", "avg"])
def test_an_unknown_pooling_is_refused(network, pooling):
    with pytest.raises(StyleTransferError, match="pooling"):
        VGG19(10, pooling=pooling)
    with pytest.raises(StyleTransferError, match="pooling"):
        Vgg19(network, ["conv1_1"], pooling=pooling, **NORMALIZATION)


def test_the_extractor_refuses_a_network_with_batch_norm():
    with torch.device("meta"):
        network = VGG19(10, batch_norm=True)
    with pytest.raises(StyleTransferError, match="batch norm"):
        Vgg19(network, ["conv1_1"], **NORMALIZATION)


# Folding


def randomize(module: nn.Module) -> nn.Module:
    """Give `module` statistics and affine parameters as far from their initial values as training brings them."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.5)
            nn.init.uniform_(layer.running_var, 0.3, 3)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.5)
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.5)
    return module


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_a_folded_network_computes_the_same(pooling):
    torch.manual_seed(5)
    network = randomize(VGG19(12, batch_norm=True, pooling=pooling, hidden=40)).eval()
    plain = fold_batch_norm(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert not plain.batch_norm
    assert plain.pooling == pooling
    assert not plain.training
    x = torch.randn(1, 3, 40, 32)
    with torch.no_grad():
        expected, actual = network.double()(x.double()), plain.double()(x.double())
    assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()  # the folded weights are stored as float32


def test_folding_leaves_the_network_alone():
    network = randomize(VGG19(12, batch_norm=True, hidden=8))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    plain = fold_batch_norm(network)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    ours = {p.data_ptr() for p in network.parameters()}
    assert not ours & {p.data_ptr() for p in plain.parameters()}
    assert network.training


def test_folding_a_network_without_batch_norm_copies_it(network):
    plain = fold_batch_norm(network)
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in plain.state_dict().items())
