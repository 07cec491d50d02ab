"""Whole networks on the device against the CPU, most of them with the weights that ship.

Where the CPU is the device, Jittor's own operators take the place of the core's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.baselines.build import build_discriminator, build_generator
from jiidm.baselines.losses import adversarial_loss, feature_matching, hinge_loss
from jiidm.classes import NUM_CLASSES, one_hot
from jiidm.experiments.selftest.checks import NETWORK, Row, difference, milliseconds, weights
from jiidm.model.files import SHIPPED, load_model
from jiidm.seeding import generator, normal
from ldm_jittor import ops
from ldm_jittor.denoiser import Denoiser
from ldm_jittor.losses import diffusion_loss


def check_network(build: Callable[[], Callable[[], list[jt.Var]]]) -> Row:
    """A network on the device against the same one on the CPU."""
    found, time = _results(build())
    with _reference():
        expected, on_cpu = _results(build())
    largest = max(difference(*each) for each in zip(found, expected))
    name = build.__name__.replace("_", " ")
    return Row(name, NETWORK, largest, time, on_cpu if jt.flags.use_cuda else None)


def _results(call: Callable[[], list[jt.Var]]) -> tuple[list[np.ndarray], float]:
    return [value.numpy() for value in call()], milliseconds(call)


@contextlib.contextmanager
def _reference() -> Iterator[None]:
    """The CPU while the block runs; where it is the device already, Jittor's own operators."""
    if jt.flags.use_cuda:
        with jt.flag_scope(use_cuda=0):
            yield
        return
    plain = {
        "conv2d": nn.conv2d,
        "group_norm": _plain_group_norm,
        "attention": ops._attention_plain,
        "self_attention": ops._self_attention_plain,
    }
    own = {name: getattr(ops, name) for name in plain}
    try:
        for name, operator in plain.items():
            setattr(ops, name, operator)
        yield
    finally:
        for name, operator in own.items():
            setattr(ops, name, operator)


def _plain_group_norm(x, num_groups, gamma, beta, affine=None, null=None, eps=1e-5, silu=False) -> jt.Var:
    """As `ops.group_norm`."""
    grouped = x.reshape((x.shape[0], num_groups, -1))
    centred = grouped - grouped.mean(2, keepdims=True)
    y = (centred / jt.sqrt(jt.sqr(centred).mean(2, keepdims=True) + eps)).reshape(x.shape)
    if null:
        places = [[0, *[1] * (side - 2), 2] for side in x.shape[2:]]
        spread = [values[:, :, places[0]][:, :, :, places[1]] for values in null]
        copies = x.shape[0] - gamma.shape[0]
        gamma, beta = (jt.concat([maps, *[more] * copies]) for maps, more in zip((gamma, beta), spread))
    rows = (-1, x.shape[1], *[1] * (x.ndim - 2))
    if gamma.ndim == 1:
        gamma, beta = gamma.reshape(rows), beta.reshape(rows)
    y = y * gamma + beta
    if affine is not None:
        scale, shift = affine.chunk(2, dim=1)
        y = y * (1 + scale.reshape(rows)) + shift.reshape(rows)
    return y * jt.sigmoid(y) if silu else y


def unet_step() -> Callable[[], list[jt.Var]]:
    """A guided step of the U-Net that ships, for one image."""
    model = load_model(SHIPPED)
    size = model.config.latent_size
    denoiser = Denoiser(model.unet, model.schedule, _segmap(1, size), size, guidance_scale=2.0)
    z = jt.array(normal((1, 3, *size), "selftest", "z"))
    return _without_gradient(lambda: [denoiser(z, 600).eps])


def encode() -> Callable[[], list[jt.Var]]:
    model = load_model(SHIPPED)
    x = jt.array(normal((1, 3, *model.config.data.size), "selftest", "image").clip(-1, 1))
    return _without_gradient(lambda: [model.space.encode(x)])


def decode() -> Callable[[], list[jt.Var]]:
    """Latents lie on codes, since one between two codes may go to either."""
    model = load_model(SHIPPED)
    codes = model.space.autoencoder.quantize.embedding.weight.numpy()
    numbers = generator("selftest", "codes").integers(len(codes), size=(1, *model.config.latent_size))
    z = jt.array(np.ascontiguousarray(codes[numbers].transpose(0, 3, 1, 2)))
    return _without_gradient(lambda: [model.space.autoencoder.decode(z)])


def training_step() -> Callable[[], list[jt.Var]]:
    """Loss and gradients of the U-Net that ships, two samples."""
    model = load_model(SHIPPED)
    size, timesteps = model.config.latent_size, np.array([150, 700])
    z0, eps = (jt.array(normal((2, 3, *size), "selftest", name)) for name in ("z0", "eps"))
    segmap = _segmap(2, size)
    model.unet.train()  # gives the weights their gradients back

    def call() -> list[jt.Var]:
        z = model.schedule.add_noise(z0, eps, timesteps)
        output = model.unet(z, jt.array(timesteps.astype(np.float32)), segmap)
        return _with_gradients(diffusion_loss(output, z0, z, eps, timesteps, model.schedule).total, model.unet)

    return call


def GAN_generator_step() -> Callable[[], list[jt.Var]]:
    """Loss and gradients of a narrow GauGAN's generator."""
    gan, discriminator, segmap, photo = _gan()

    def call() -> list[jt.Var]:
        fake, real = discriminator(segmap, gan(segmap)), discriminator(segmap, photo)
        return _with_gradients(adversarial_loss(fake) + 10 * feature_matching(fake, real), gan)

    return call


def GAN_discriminator_step() -> Callable[[], list[jt.Var]]:
    """Loss and gradients of its discriminator."""
    gan, discriminator, segmap, photo = _gan()

    def call() -> list[jt.Var]:
        fake, real = discriminator(segmap, gan(segmap).detach()), discriminator(segmap, photo)
        return _with_gradients(hinge_loss(fake, real), discriminator)

    return call


NETWORKS = (unet_step, encode, decode, training_step, GAN_generator_step, GAN_discriminator_step)


def _gan() -> tuple[nn.Module, nn.Module, jt.Var, jt.Var]:
    """Generator and discriminator with weights that do not depend on the device, masks and photos."""
    size = (64, 96)
    gan = build_generator("gaugan", NUM_CLASSES, size, 8, use_vae=False)
    discriminator = build_discriminator("gaugan", channels=8)
    for module in (gan, discriminator):
        for name, parameter in module.named_parameters():
            if not name.endswith(("running_mean", "running_var")):
                parameter.assign(jt.array(weights(name, tuple(parameter.shape))))
    photo = jt.array(normal((2, 3, *size), "selftest", "photo").clip(-1, 1))
    return gan, discriminator, _segmap(2, size), photo


def _segmap(count: int, size: tuple[int, int]) -> jt.Var:
    """One-hot masks [count,classes,*size] of patches of classes."""
    coarse = generator("selftest", "mask").integers(NUM_CLASSES, size=(count, size[0] // 8, size[1] // 8))
    return jt.array(np.stack([one_hot(mask.repeat(8, 0).repeat(8, 1).astype(np.uint8)) for mask in coarse]))


def _with_gradients(loss: jt.Var, module: nn.Module) -> list[jt.Var]:
    parameters = [parameter for parameter in module.parameters() if not parameter.is_stop_grad()]
    gradients = jt.grad(loss, parameters)
    return [loss, jt.concat([gradient.reshape(-1) for gradient in gradients])]


def _without_gradient(call: Callable[[], list[jt.Var]]) -> Callable[[], list[jt.Var]]:
    def wrapped() -> list[jt.Var]:
        with jt.no_grad():
            values = call()
            jt.sync(values)
            return values

    return wrapped
