"""Images moved along directions of the class code: who is moved, how far, and what is said of it."""

from __future__ import annotations

import torch
from corner_world import CLASSES, Corners, TwoOfThree, corner_images, corner_manifold, shifted_world

from cae.manifold.latent_directions import class_directions
from cae.manifold.latent_shift import find_latent_directions
from cae.manifold.traversals import DEVIATIONS, SHARES, class_traversals, latent_traversals, principal_traversals


def test_class_traversals_lead_from_the_surest_image_of_one_class_to_the_other():
    shift, _ = shifted_world()
    probabilities = shift.probabilities(shift.originals)
    directions = class_directions(corner_manifold())
    found = class_traversals(shift, directions, probabilities, CLASSES)
    assert found.images.shape == (3, len(SHARES), 1, 4, 4)
    assert found.names[0] == f"{CLASSES[directions[0].first]}\n↔ {CLASSES[directions[0].second]}"
    at_start, at_end = found.positions.index("0"), found.positions.index("1")
    for row, direction in enumerate(directions):
        assert int(found.probabilities[row, at_start].argmax()) == direction.first
        assert int(found.probabilities[row, at_end].argmax()) == direction.second
        surest = probabilities[probabilities.argmax(1) == direction.first, direction.first].max()
        assert torch.isclose(found.probabilities[row, at_start, direction.first], surest, atol=1e-4)


def test_without_an_image_of_a_class_no_class_traversal_starts_there():
    shift, _ = shifted_world()
    nobody = torch.tensor([[0.0, 0.0, 1.0]]).expand(len(shift.codes), 3)  # all are predicted as the last class
    assert class_traversals(shift, class_directions(corner_manifold())[:2], nobody, CLASSES) is None


def test_latent_traversals_leave_the_image_alone_at_position_zero():
    shift, predictions = shifted_world()
    directions = find_latent_directions(shift, predictions, corner_manifold(), seed=0)
    found = latent_traversals(shift, directions, predictions, corner_manifold().std, seed=0)
    middle = DEVIATIONS.index(0.0)
    assert found.positions[middle] == "0"
    assert found.names[:2] == ["edit 1", "edit 2"]
    assert torch.allclose(found.images[0, middle], found.images[1, middle])
    assert not torch.allclose(found.images[0, 0], found.images[0, -1])


def test_principal_traversals_decode_one_image_and_do_not_depend_on_the_batch_size():
    image = corner_images(3)[0][:1]
    codes = TwoOfThree().encode(image)
    small, large = (principal_traversals(TwoOfThree(), Corners(), corner_manifold(), codes, size) for size in (2, 64))
    assert torch.equal(small.images, large.images)
    assert torch.allclose(small.probabilities, large.probabilities, atol=1e-6)
    middle = DEVIATIONS.index(0.0)
    assert torch.allclose(small.images[:, middle], image.expand(3, -1, -1, -1), atol=1e-6)
