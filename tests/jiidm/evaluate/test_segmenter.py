from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch_files
from PIL import Image
from safetensors.numpy import save_file
from scipy.special import softmax

from jiidm.data.synthetic.dataset import landscape
from jiidm.errors import InputError
from jiidm.evaluate import segmenter as module
from jiidm.evaluate.mapping import ade20k
from jiidm.evaluate.segformer import PRESETS, Architecture, SegFormer
from jiidm.evaluate.segmenter import (
    PREPROCESSING,
    SHIPPED,
    Segmenter,
    architecture_of,
    load,
    normalized,
    to_hugging_face,
    variant_of,
)
from jiidm.size import Size
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


@pytest.fixture
def images() -> np.ndarray:
    return np.stack([landscape(i, Size(64, 96), seed=9)[0] for i in range(3)])


def save(path, state, metadata=()):
    save_file(state, path, {checkpoint.METADATA_KEY: json.dumps(dict(metadata))})
    return path


def refusal(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def in_nvlabs_names(state):
    """What mmseg would call these weights, spelled out part by part."""
    theirs = {"decode_head.conv_seg.weight": np.zeros((29, 24, 1, 1)), "decode_head.conv_seg.bias": np.zeros(29)}
    theirs["decode_head.linear_fuse.bn.num_batches_tracked"] = np.array(7)
    block_parts = {
        "layer_norm_1": "norm1",
        "attention.self.query": "attn.q",
        "attention.self.sr": "attn.sr",
        "attention.self.layer_norm": "attn.norm",
        "attention.output.dense": "attn.proj",
        "layer_norm_2": "norm2",
        "mlp.dense1": "mlp.fc1",
        "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
        "mlp.dense2": "mlp.fc2",
    }
    head_parts = {"linear_fuse": "linear_fuse.conv", "batch_norm": "linear_fuse.bn", "classifier": "linear_pred"}
    for name, array in state.items():
        module, kind = name.rsplit(".", 1)
        where = module.split(".")
        if where[0] == "decode_head":
            part = f"linear_c{int(where[2]) + 1}.proj" if where[1] == "linear_c" else head_parts[where[1]]
            theirs[f"decode_head.{part}.{kind}"] = array
            continue
        stage = int(where[3]) + 1
        if where[2] == "patch_embeddings":
            theirs[f"backbone.patch_embed{stage}.{'proj' if where[4] == 'proj' else 'norm'}.{kind}"] = array
        elif where[2] == "layer_norm":
            theirs[f"backbone.norm{stage}.{kind}"] = array
        elif where[-1] == "key":
            value = state[name.replace(".key.", ".value.")]
            theirs[f"backbone.block{stage}.{where[4]}.attn.kv.{kind}"] = np.concatenate([array, value])
        elif where[-1] != "value":
            theirs[f"backbone.block{stage}.{where[4]}.{block_parts['.'.join(where[5:])]}.{kind}"] = array
    return theirs


@pytest.mark.parametrize("name", PRESETS)
def test_a_variant_is_told_from_its_shapes(name):
    widths, depths, decoder_width = PRESETS[name]
    arrays = {
        f"segformer.encoder.patch_embeddings.{i}.proj.weight": np.zeros((w, 1, 1, 1)) for i, w in enumerate(widths)
    }
    arrays |= {
        f"segformer.encoder.block.{i}.{j}.x": np.zeros(1) for i, depth in enumerate(depths) for j in range(depth)
    }
    arrays["decode_head.linear_fuse.weight"] = np.zeros((decoder_width, 1, 1, 1))
    arrays["decode_head.classifier.weight"] = np.zeros((29, 1, 1, 1))
    assert architecture_of(arrays, "here") == Architecture(*PRESETS[name], 29)
    assert variant_of(architecture_of(arrays, "here")) == name


def test_widths_name_a_variant_of_ones_own():
    assert variant_of(Architecture((8, 16, 40, 64), (1, 2, 1, 1), 24, 29)) == "8-16-40-64"


def test_a_file_gives_back_the_network_that_was_saved(network, state, images, tmp_path):
    path = save(tmp_path / "mine.safetensors", state, {"preprocessing": {**PREPROCESSING, "resize": [64, 48]}})
    segmenter = load(path)
    expected = Segmenter(network, {**PREPROCESSING, "resize": [64, 48]})
    np.testing.assert_array_equal(segmenter.predict(images), expected.predict(images))
    assert segmenter.preprocessing == expected.preprocessing
    assert segmenter.name == "SegFormer 8-16-40-64 (mine.safetensors)" and len(segmenter.sha256) == 64


def test_nvlabs_names_are_those_of_hugging_face_after_conversion(state):
    theirs = in_nvlabs_names(state)
    assert "backbone.block1.0.attn.kv.weight" in theirs and "decode_head.linear_c4.proj.bias" in theirs
    converted = to_hugging_face(theirs)
    assert converted.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(converted[name], array, err_msg=name)
    assert to_hugging_face(state).keys() == state.keys()


def test_weights_of_another_network_are_named_so(smoke_model, tmp_path):
    assert "weights of the wrong network" in refusal(smoke_model)
    assert "wrong network" in refusal(save(tmp_path / "empty.safetensors", {}))


def test_an_encoder_without_a_decoder_is_refused(state, tmp_path):
    encoder = {name: array for name, array in state.items() if not name.startswith("decode_head")}
    assert "decode_head" in refusal(save(tmp_path / "mit.safetensors", encoder))


@pytest.mark.parametrize("damage", ["missing", "surplus", "shape", "classes", "nan"])
def test_weights_that_do_not_fit_are_listed(state, damage, tmp_path):
    state, name = dict(state), "segformer.encoder.block.1.1.mlp.dense1.bias"
    if damage == "missing":
        del state[name]
    elif damage == "surplus":
        name = "decode_head.extra"
        state[name] = np.zeros(1, np.float32)
    elif damage == "shape":
        state[name] = state[name][:-1]
    elif damage == "nan":
        state[name] = state[name] * np.nan
    else:
        name = "segments 19 classes"
        state["decode_head.classifier.weight"] = np.zeros((19, 24, 1, 1), np.float32)
        state["decode_head.classifier.bias"] = np.zeros(19, np.float32)
    assert name in refusal(save(tmp_path / "damaged.safetensors", state))


def of_classes(state, count):
    """The same encoder, with a classifier of `count` classes."""
    rng = np.random.default_rng(count)
    weight = rng.normal(size=(count, 24, 1, 1)).astype(np.float32)
    return {
        **state,
        "decode_head.classifier.weight": weight,
        "decode_head.classifier.bias": np.zeros(count, np.float32),
    }


@pytest.mark.parametrize("form", ["folder", "safetensors", "nvlabs"])
def test_ade20ks_150_classes_become_the_29_after_the_largest_is_chosen(state, images, tmp_path, form):
    state = of_classes(state, 150)
    if form == "nvlabs":
        path = save(tmp_path / "segformer.b0.512x512.ade.160k.safetensors", in_nvlabs_names(state))
    else:
        path = save(tmp_path / "model.safetensors", state)
    ours = load(tmp_path if form == "folder" else path)
    network = SegFormer(Architecture((8, 16, 40, 64), (1, 2, 1, 1), 24, 150))
    checkpoint.load_into(network, state, "here")
    largest = Segmenter(network, {}).predict(images)
    assert largest.max() > 28
    np.testing.assert_array_equal(ours.predict(images), ade20k().table[largest])
    assert ours.mapping.record()["num_classes"] == 150


def test_classes_of_ones_own_need_a_mapping_file(state, images, tmp_path):
    path = save(tmp_path / "mine.safetensors", of_classes(state, 300))  # more than a byte counts
    assert "segments 300 classes" in refusal(path)
    (tmp_path / "mapping.json").write_text('{"sea": [299], "sky": [0]}')
    predicted = load(path, tmp_path / "mapping.json").predict(images)
    assert predicted.dtype == np.uint8 and set(np.unique(predicted)) <= {1, 3, 28}


def test_confidence_is_the_mean_of_the_largest_probability(network, state, images):
    with network.inference():
        logits = network(normalized(images, PREPROCESSING)).numpy()
    masks, confidences = Segmenter(network, PREPROCESSING).label(images)
    np.testing.assert_allclose(confidences, softmax(logits, axis=1).max(axis=1).mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(masks, Segmenter(network, PREPROCESSING).predict(images))


def test_a_folder_of_a_pickle_serves_too(state, tmp_path):
    torch_files.save(tmp_path / "pytorch_model.bin", state)
    assert load(tmp_path).name == "SegFormer 8-16-40-64 (pytorch_model.bin)"


def test_hugging_faces_own_settings_are_followed(state, images, tmp_path):
    path = save(tmp_path / "model.safetensors", state)
    plain = load(path)
    assert plain.preprocessing == PREPROCESSING
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": [2, 4, 8, 8]}))
    settings = {"do_resize": True, "size": {"height": 48, "width": 64}, "image_mean": [0.1, 0.2, 0.3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    other = load(path)
    expected = {"resize": [64, 48], "interpolation": "BILINEAR", "mean": [0.1, 0.2, 0.3], "std": PREPROCESSING["std"]}
    assert other.preprocessing == expected
    (seen,) = other._batches(images[:1])
    shrunk = Image.fromarray(images[0]).resize((64, 48), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(seen.numpy(), normalized([np.asarray(shrunk)], expected).numpy())
    other.preprocessing = plain.preprocessing
    assert np.abs(other.features(images) - plain.features(images)).max() > 1e-3  # other heads, other attention
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, "do_normalize": False}))
    raw = load(path).preprocessing
    assert normalized(images, raw).numpy() == pytest.approx(images.transpose(0, 3, 1, 2) / 255)


def test_hugging_faces_folder_serves_as_the_file(state, tmp_path):
    (tmp_path / "model").mkdir()
    save(tmp_path / "model" / "model.safetensors", state)
    (tmp_path / "model" / "config.json").write_text(json.dumps({"num_attention_heads": [2, 4, 8, 8]}))
    assert load(tmp_path / "model").network.segformer.encoder.block[0][0].attention.self.heads == 2
    assert "model.safetensors: no such checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"num_attention_heads": [3, 1, 1, 1]}', '{"num_attention_heads": [1, 1]}'])
def test_settings_that_cannot_be_are_refused(state, text, tmp_path):
    path = save(tmp_path / "model.safetensors", state)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="config.json"):
        load(path)


def test_classes_are_the_largest_of_the_upsampled_logits(network, state, images):
    with network.inference():
        logits = network(normalized(images, PREPROCESSING)).numpy()
    upsampled = np.stack(
        [[cv2.resize(p, (96, 64), interpolation=cv2.INTER_LINEAR) for p in planes] for planes in logits]
    )
    classes = Segmenter(network, PREPROCESSING).predict(images)
    assert classes.dtype == np.uint8 and len(np.unique(classes)) > 1
    np.testing.assert_array_equal(classes, upsampled.argmax(axis=1))


def test_groups_of_images_change_no_prediction(network, state, images, monkeypatch):
    """A tie to float noise may be broken the other way."""
    segmenter = Segmenter(network, PREPROCESSING)
    together = segmenter.predict(images), segmenter.features(images)
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 2 * 96 * 64)
    assert np.mean(segmenter.predict(images) == together[0]) > 0.999
    np.testing.assert_allclose(segmenter.features(images), together[1], atol=1e-5)
    assert together[1].shape == (3, 64) and together[1].dtype == np.float32


def test_looking_at_images_leaves_the_network_in_training(network, state, images):
    Segmenter(network, PREPROCESSING).predict(images)
    assert network.decode_head.batch_norm.is_train
    average = "decode_head.batch_norm.running_mean"
    np.testing.assert_array_equal(checkpoint.state_dict(network)[average], state[average])


def test_too_small_an_image_is_refused(network):
    with pytest.raises(InputError, match="40x24"):
        Segmenter(network, PREPROCESSING).predict(np.zeros((1, 24, 40, 3), np.uint8))


@pytest.mark.parametrize("size", [Size(96, 128), Size(192, 256)])
def test_the_shipped_segmenter_knows_generated_landscapes(size):
    assert SHIPPED.stat().st_size <= 5e6
    scenes = [landscape(i, size, seed=77) for i in range(12)]
    predicted = load().predict(np.stack([image for image, _ in scenes]))
    accuracy = np.mean(predicted == np.stack([mask for _, mask in scenes]))
    print(f"pixel accuracy of the shipped segmenter at {size}: {accuracy:.3f}")
    assert accuracy > 0.85
