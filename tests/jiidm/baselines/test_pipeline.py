"""Images of every GAN: they depend on mask, style, seed and name as they should, and on nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import jittor as jt
import numpy as np
import pytest
from tiny_gans import OPTIONS, tiny

from jiidm.baselines.model import GAN, GANModel, evaluating
from jiidm.baselines.pipeline import GANPipeline
from jiidm.data.images import load_mask
from jiidm.data.pairs import find_pairs
from jiidm.pipeline import Input
from jiidm.seeding import normal
from jiidm.size import Size
from ldm_jittor import checkpoint
from ldm_jittor.pixels import to_model

pytestmark = pytest.mark.slow

SKY_EVERYWHERE = SimpleNamespace(name="a segmenter", predict=lambda images: np.ones(images.shape[:3], np.uint8))


def loud(network):
    """Weights that let mask, style and noise change the image visibly."""
    named = ("noise_var", "fc.weight", "affine.bias", "conv_gamma.weight", "conv_beta.weight", "conv_img.weight")
    for name, value in network.named_parameters():
        if name.endswith(named) or ".fc_mu" in name:
            scale = 0.1 if "conv_img" in name else 1
            value.assign(jt.array(scale * normal(tuple(value.shape), name)))


@pytest.fixture(scope="module")
def pipelines():
    made = {}
    for method in OPTIONS:
        config = tiny(method)
        jt.set_global_seed(0)
        network = GAN(config)
        loud(network)
        network.eval()
        codes = normal((29, 4), "codes") if method == "sean" else None
        made[method] = GANPipeline(GANModel(config, network, codes), lambda: SKY_EVERYWHERE)
    return made


@pytest.fixture(scope="module")
def given(landscapes):
    pairs = find_pairs(landscapes)
    return [Input(a.stem, a.label, b.image) for a, b in zip(pairs[:3], pairs[1:])]


def images(pipeline, inputs, seed=0, **options):
    return {result.name: result.image for result in pipeline.stream(inputs, seed=seed, **options)}


@pytest.mark.parametrize("method", OPTIONS)
def test_images_of_a_batch_are_those_of_each_alone_and_in_order(pipelines, given, method):
    together = images(pipelines[method], given)
    assert list(together) == [input_.name for input_ in given]
    for input_ in given:
        alone = images(pipelines[method], [input_])[input_.name]
        assert alone.shape == (32, 64, 3) and alone.dtype == np.uint8
        assert np.abs(alone.astype(int) - together[input_.name]).max() <= 1
    assert len({image.tobytes() for image in together.values()}) == 3


def test_wanted_ones_come_alone_to_the_byte_with_a_call_for_each_batch(pipelines, given):
    pipeline, calls = pipelines["gaugan"], []
    name = given[1].name
    wanted = images(pipeline, given, wanted={name}, on_step=calls.append)
    assert list(wanted) == [name] and calls == [1] and pipeline.num_passes(given, wanted={name}) == 1
    np.testing.assert_array_equal(wanted[name], images(pipeline, given)[name])
    assert pipeline.num_passes(given) == 2


@pytest.mark.parametrize("method", ["gaugan", "sean"])
def test_reference_decides_the_image(pipelines, given, method):
    first = images(pipelines[method], given[:1])
    other = images(pipelines[method], [given[0]._replace(reference=given[2].reference)])
    assert np.abs(first[given[0].name].astype(int) - other[given[0].name]).max() > 0


def test_noise_belongs_to_seed_and_name_and_only_sean_has_it(pipelines, given):
    renamed = [given[0]._replace(name="another")]
    for method, pipeline in pipelines.items():
        runs = [*images(pipeline, given[:1]).values(), *images(pipeline, given[:1], seed=1).values()]
        runs += images(pipeline, renamed).values()
        different = [not np.array_equal(runs[0], other) for other in runs[1:]]
        assert different == [method == "sean"] * 2


def test_style_is_the_mean_unless_it_is_to_be_drawn(given):
    drawn, network = tiny("gaugan", "gan.sample_style=true"), GAN(tiny("gaugan"))
    loud(network)
    seen = []
    network.generator.execute = lambda segmap, z: seen.append(z.numpy()) or segmap[:, :3] * 0
    with evaluating(network), jt.no_grad():
        for config in (tiny("gaugan"), drawn):
            images(GANPipeline(GANModel(config, network, None)), given[:1], seed=3)
        [photo] = [result.reference for result in GANPipeline(GANModel(drawn, network, None)).stream(given[:1], seed=3)]
        mean, log_variance = (part.numpy() for part in network.encoder(to_model([photo])))
    np.testing.assert_allclose(seen[0], mean, atol=1e-6)
    eps = normal((256,), 3, given[0].name, 0, "style")
    np.testing.assert_allclose(seen[1], mean + eps * np.exp(log_variance / 2), atol=1e-5)


def test_sean_reads_the_references_own_mask_and_else_asks_the_segmenter(pipelines, given):
    pipeline, photo = pipelines["sean"], np.full((32, 64, 3), 90, np.uint8)
    asked = {}
    network = pipeline.model.network.generator

    def codes_of(image, segmap):
        asked["classes"] = {int(label) for label in np.flatnonzero(segmap.numpy().any(axis=(0, 2, 3)))}
        codes = np.zeros((1, 29, 4), np.float32)
        codes[:, list(asked["classes"])] = 5
        return jt.array(codes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "style_codes", codes_of)
        seen = []
        patch.setattr(
            network, "execute", lambda segmap, style_codes, noise: seen.append(style_codes.numpy()) or segmap[:, :3]
        )
        images(pipeline, given[:1])
        own = set(np.unique(load_mask(find_pairs(given[0].mask.parents[1])[1].label, Size(32, 64))).tolist())
        assert asked["classes"] == own
        images(pipeline, [given[0]._replace(reference=photo)])
    assert asked["classes"] == {1}
    # classes that the reference does not show have the mean over the training photos
    expected = pipeline.model.mean_codes.copy()
    expected[1] = 5
    np.testing.assert_array_equal(seen[1][0], expected)


def test_without_a_style_the_log_says_that_references_have_no_effect(given, caplog):
    config = tiny("clade", "gan.use_vae=false")
    pipeline = GANPipeline(GANModel(config, GAN(config), None))
    with evaluating(pipeline.model.network):
        first = images(pipeline, given[:1])
        other = images(pipeline, [given[0]._replace(reference=given[2].reference)])
    np.testing.assert_array_equal(first[given[0].name], other[given[0].name])
    assert "the references have no effect" in caplog.text


def test_painting_changes_no_weight_or_statistic(pipelines, given):
    network = pipelines["sean"].model.network
    before = checkpoint.state_dict(network)
    images(pipelines["sean"], given)
    for name, value in checkpoint.state_dict(network).items():
        np.testing.assert_array_equal(value, before[name])
