"""What the choice of DM's bounds measures, on arrays whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import bounds


def test_the_saturated_share_counts_both_ends():
    image = np.full((2, 5, 3), 128, np.uint8)
    image[0, 0] = (0, 2, 3)
    image[1, 4] = (255, 253, 252)
    assert bounds.saturated_share(image) == pytest.approx(100 * 4 / 30)


def test_a_latents_features_are_those_of_its_quarters():
    latents = np.zeros((1, 2, 4, 6), np.float32)
    latents[0, 1, 2:, 3:] = [[5, 7, 5], [7, 5, 7]]  # the last quarter of the second channel
    features = bounds.latent_features(latents)[0]
    assert features.shape == (16,) and features[:12].any() == np.False_
    np.testing.assert_allclose(features[12:], [0, 6, 0, 1])


def test_other_choices_do_not_follow_from_a_config_that_has_bounds_itself(smoke, smoke_model):
    from jiidm.config import load as configs
    from jiidm.model.files import ModelFile

    given = configs.override(smoke, ["inference.rounds.0.clip_x0=9", "inference.rounds.1.guidance_rescale=0.5"])
    for with_rounds, names in ((False, bounds.CHOICES), (True, bounds.FOR_ROUNDS)):
        found = {trial.name: trial for trial in bounds.trials(given, ModelFile(smoke_model), with_rounds)}
        assert list(found) == list(names)
        for round_ in found["none"].config.inference.rounds:
            assert (round_.clip_x0, round_.dynamic_thresholding_ratio, round_.guidance_rescale) == (None, None, 0.0)
        assert {round_.clip_x0 for round_ in found["clip 2"].config.inference.rounds} == {2.0}
        assert {trial.from_noise for trial in found.values()} == {not with_rounds}
        starts = [round_.start_timestep for round_ in found["clip 2"].config.inference.rounds]
        assert starts == ([round_.start_timestep for round_ in given.inference.rounds] if with_rounds else [999])
