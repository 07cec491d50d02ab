import cv2
import jittor as jt
import numpy as np

from jiidm.evaluate.segformer import upsample_bilinear


def test_upsampling_is_bilinear_between_pixel_centres():
    x = np.random.default_rng(2).normal(size=(2, 3, 5, 7)).astype(np.float32)
    expected = np.stack(
        [[cv2.resize(plane, (26, 20), interpolation=cv2.INTER_LINEAR) for plane in planes] for planes in x]
    )
    np.testing.assert_allclose(upsample_bilinear(jt.array(x), (20, 26)).numpy(), expected, atol=1e-5)
    part = upsample_bilinear(jt.array(x), (20, 26), slice(1, None, 2), slice(0, None, 3)).numpy()
    np.testing.assert_allclose(part, expected[:, :, 1::2, ::3], atol=1e-5)


def test_the_decoder_equals_concatenation_and_one_fusing_convolution(network, state):
    """As the paper draws it: every stage projected, upsampled, concatenated with the deepest first, fused."""
    rng = np.random.default_rng(3)
    features = [
        rng.normal(size=(1, 8 >> i, 16 >> i, width)).astype(np.float32) for i, width in enumerate((8, 16, 40, 64))
    ]
    head = {name.removeprefix("decode_head."): array for name, array in state.items()}
    planes = []
    for i in (3, 2, 1, 0):
        x = features[i][0] @ head[f"linear_c.{i}.proj.weight"].T + head[f"linear_c.{i}.proj.bias"]
        planes.append(cv2.resize(x, (16, 8), interpolation=cv2.INTER_LINEAR))
    fused = np.concatenate(planes, axis=2) @ head["linear_fuse.weight"][:, :, 0, 0].T
    scale = head["batch_norm.weight"] / np.sqrt(head["batch_norm.running_var"] + 1e-5)
    hidden = np.maximum((fused - head["batch_norm.running_mean"]) * scale + head["batch_norm.bias"], 0)
    expected = hidden @ head["classifier.weight"][:, :, 0, 0].T + head["classifier.bias"]
    with network.inference():
        logits = network.decode_head([jt.array(x) for x in features]).numpy()
    np.testing.assert_allclose(logits[0].transpose(1, 2, 0), expected, rtol=1e-3, atol=1e-4)
