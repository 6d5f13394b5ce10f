"""Generators with known answers on a run whose class is the mean grey value."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from level_run import level_run, some_images

from cae.config.command_line import load_config
from cae.generators.embedding import OurCounterfactuals, ShuffledChange, shuffled
from cae.generators.latent_shift import LatentShift, shift_direction
from cae.generators.latent_shift import shifted as shifted_codes
from cae.generators.nearest import NearestImage
from cae.generators.published import PublishedWalk, published_config
from cae.metrics.log_odds import log_odds, log_odds_of_each
from cae.models.cae import CAE


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return level_run(tmp_path_factory.mktemp("runs"))


def test_ours_reaches_every_target_and_ends_beyond_the_boundary(run):
    generator, (images, targets) = OurCounterfactuals(run, 0), some_images(run)
    made = generator.generate(images, targets)
    assert generator.reached(made.images, targets).all()
    assert (generator.margins(made.ends, targets) > generator.margins(made.images, targets)).all()
    assert torch.equal(made.bases, images)


def test_the_nearest_image_is_faded_in_just_as_far_as_it_takes(run):
    generator, (images, targets) = NearestImage(run, 0), some_images(run)
    generator.prepare(Path())
    made = generator.generate(images, targets)
    training = torch.stack([run.data.train[place].image for place in range(len(run.data.train))])
    assert all(any(torch.equal(end, image) for image in training) for end in made.ends)
    assert (run.classifier.probabilities(made.ends).argmax(1) == targets).all()
    assert generator.reached(made.images, targets).all()
    shares = (made.images - images).flatten(1).norm(dim=1) / (made.ends - images).flatten(1).norm(dim=1)
    less = torch.lerp(images, made.ends, (shares - 0.01)[:, None, None, None])
    assert not generator.reached(less, targets).any()


def test_latent_shift_goes_along_the_gradient_scaled_to_the_code():
    weights, code = torch.tensor([[3.0, 0.0, 4.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    (direction,) = shift_direction(lambda z: z[0], lambda x: (x * weights).sum(1), (code,))
    torch.testing.assert_close(direction, 2 * weights / 5)
    (moved,) = shifted_codes((code,), (direction,), torch.tensor([0.5]))
    torch.testing.assert_close(moved, code + weights / 5)


def test_latent_shift_flips_and_its_change_is_against_the_reconstruction(run):
    generator, (images, targets) = LatentShift(run, 0), some_images(run)
    generator.prepare(Path())
    made = generator.generate(images, targets)
    torch.testing.assert_close(made.bases, images)  # this embedding loses nothing
    near = (run.classifier.probabilities(images).argmax(1) - targets).abs() == 1
    assert generator.reached(made.images, targets)[near].all()
    assert ((made.images - made.bases).abs().flatten(1).mean(1) <= generator.bound).all()
    assert (made.passes > 3).all()


def test_latent_shift_of_our_embedding_uses_no_class_code(tmp_path):
    run = level_run(tmp_path)
    torch.manual_seed(0)
    cae = CAE((1, 16, 16), run.config.cae.model).eval().requires_grad_(False)
    object.__setattr__(run, "cae", cae)
    generator, (images, targets) = LatentShift(run, 0), some_images(run, 2)
    generator.prepare(Path())
    made = generator.generate(images, targets)
    torch.testing.assert_close(made.bases, cae.to_unit(cae.trunk(cae.encode(images).individual_code)[0]).clamp(0, 1))


def test_log_odds_of_each_row_are_those_of_its_class():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 2, 1, 1])
    wanted = torch.stack([log_odds(row, target) for row, target in zip(logits, targets.tolist(), strict=True)])
    torch.testing.assert_close(log_odds_of_each(logits, targets), wanted)


def test_shuffling_keeps_every_value_and_the_pixels_of_a_path_together():
    changes = torch.arange(24.0).view(2, 1, 3, 4)
    moved = shuffled(changes, seed=0)
    assert moved[0].flatten().sort().values.tolist() == list(range(12))
    assert torch.equal(moved[1] - moved[0], torch.full((1, 3, 4), 12.0))
    assert not torch.equal(moved, changes)


def test_shuffled_change_is_as_large_as_ours(run):
    images, targets = some_images(run)
    ours, control = (kind(run, 0).generate(images, targets) for kind in (OurCounterfactuals, ShuffledChange))
    sizes = [(made.ends - images).abs().flatten(1).mean(1) for made in (ours, control)]
    torch.testing.assert_close(*sizes, atol=0.01, rtol=0)  # but for what is clipped


def test_the_published_recipe_follows_predictions_in_its_own_batches(run, tmp_path):
    config = published_config(run.config, tmp_path / "published", 3)
    recipe = load_config(["published"])
    assert (config.cae.preset, config.cae.target, config.seed) == ("published", "classifier", 3)
    assert (config.data.batch_size, config.cae.learning_rate) == (recipe.data.batch_size, recipe.cae.learning_rate)
    assert (config.runs, config.name) == (str(tmp_path), "published")
    assert run.config.cae.preset == "default"  # the run's own options stay


def test_the_published_walk_takes_the_first_of_six_steps_that_reaches_else_the_last(tmp_path):
    run = level_run(tmp_path, "data.image_size=32")
    generator, (images, targets) = PublishedWalk(run, 0), some_images(run)
    generator.cae, generator.manifold = run.cae, run.manifold  # in place of trained ones
    made = generator.generate(images, targets)
    codes = run.cae.encode(images)
    for row, target in enumerate(targets.tolist()):
        reference = run.manifold.references(codes.class_code[row], target, "medoid").codes[0]
        steps = [
            run.cae.decode(
                torch.lerp(codes.class_code[row], reference, torch.tensor(k / 6))[None],
                codes.individual_code[row][None],
            )
            for k in range(1, 7)
        ]
        first = next((x for x in steps if generator.reached(x, targets[row : row + 1])), steps[-1])
        torch.testing.assert_close(made.images[row], first[0])
        torch.testing.assert_close(made.ends[row], steps[-1][0])
