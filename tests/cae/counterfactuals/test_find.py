"""Counterfactual search, on toy worlds whose answers are known in closed form."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from cae.config import CounterfactualConfig, ManifoldConfig, ModelConfig
from cae.counterfactuals.find import find_counterfactuals, targets_for
from cae.counterfactuals.path_search import round_to_8_bits, target_margin
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.models.editing import ResidualEdit

SIDE = 6


class ToyCAE:
    """Class code: 2 mean(channel 0) - 1. Individual code: channel 1. The decoder adds ``shift`` to its output."""

    def __init__(self, shift: float = 0.0):
        self.shift = shift
        self.largest = 0

    def encode(self, images):
        self.largest = max(self.largest, len(images))
        code = 2 * images[:, 0].mean((1, 2)) - 1
        return SimpleNamespace(class_code=code[:, None], individual_code=images[:, 1:2])

    def decode(self, class_code, individual_code):
        self.largest = max(self.largest, len(class_code))
        grey = ((class_code + 1) / 2)[:, :, None, None].expand(-1, 1, SIDE, SIDE)
        return torch.cat([grey, individual_code], dim=1) + self.shift


class ToyClassifier:
    """Two classes; ``answer`` maps the class code (B,) to the logit of class 1 minus that of class 0."""

    classes = ("dark", "bright")

    def __init__(self, answer, differentiable=True):
        self.answer, self.differentiable = answer, differentiable
        self.evaluations = self.largest = 0

    def logits(self, images):
        self.evaluations += len(images)
        self.largest = max(self.largest, len(images))
        logit = self.answer(2 * images[:, 0].mean((1, 2)) - 1)
        return torch.stack([-logit / 2, logit / 2], dim=1)

    def probabilities(self, images):
        return self.logits(images).softmax(1)


def toy_images(*codes: float, seed: int = 0):
    """8-bit images with the given class codes (if those are of 8 bits), and random channels 1."""
    generator = torch.Generator().manual_seed(seed)
    grey = torch.tensor([(code + 1) / 2 for code in codes])[:, None, None, None].expand(-1, 1, SIDE, SIDE)
    detail = round_to_8_bits(torch.rand(len(codes), 1, SIDE, SIDE, generator=generator))
    return torch.cat([grey, detail], dim=1)


def toy_manifold(*codes: float, classes=("dark", "bright"), confidence: float = 0.95):
    values = torch.tensor(codes)
    bright = torch.where(values > 0, confidence, 1 - confidence)
    probabilities = torch.stack([1 - bright, bright], dim=1)
    ids = tuple(f"train{number}" for number in range(len(codes)))
    return ClassManifold(
        values[:, None], probabilities, (values > 0).long(), ids, classes, ManifoldConfig(max_codes=100)
    )


def slope(a: float):
    return lambda code: a * code


def along(*switches: float):
    """A classifier that sees class 1 between the first two of the shares ``switches`` of the way, and so on."""

    def answer(code):
        share = (code + 1) / 2
        count = sum((share >= switch).long() for switch in switches)
        return torch.where(count % 2 == 1, 3.0, -3.0)

    return answer


def find(answer, images, manifold=None, cae=None, classifier=None, config=None, **options):
    manifold = manifold or toy_manifold(-1.0, -0.9, 1.0)
    classifier = classifier or ToyClassifier(answer)
    arguments = {
        key: options.pop(key)
        for key in ("targets", "ids", "seed", "quantise", "reference_codes", "reference_ids")
        if key in options
    }
    config = config or CounterfactualConfig(**{"reference": "nearest", **options})
    return find_counterfactuals(cae or ToyCAE(), classifier, manifold, images, config=config, **arguments)


def test_boundary_of_the_toy_world_is_the_closed_form():
    a, m = 4.0, 0.05
    (result,) = find(slope(a), toy_images(-1.0), quantise=False, margin=m)
    boundary = (2 * math.atanh(m) / a + 1) / 2
    assert result.found
    assert result.boundary == pytest.approx(boundary, abs=1e-4)
    assert result.boundary >= boundary - 1e-6
    assert torch.allclose(result.difference[0], torch.full((SIDE, SIDE), result.boundary), atol=1e-6)
    assert torch.equal(result.difference[1], torch.zeros(SIDE, SIDE))
    assert torch.allclose(result.saliency, result.difference.abs().sum(0, keepdim=True))
    assert result.reference_ids == ("train2",)
    assert (result.source_class, result.target_class) == ("dark", "bright")


def test_bisection_brings_the_overshoot_down():
    (result,) = find(slope(12.0), toy_images(-1.0), quantise=False)
    assert 0 <= result.overshoot < 1e-3 < result.overshoot_without_bisection
    (coarse,) = find(slope(12.0), toy_images(-1.0), quantise=False, bisections=0)
    assert coarse.overshoot == coarse.overshoot_without_bisection == pytest.approx(result.overshoot_without_bisection)
    assert coarse.boundary in coarse.tau.tolist()


def test_the_first_of_several_crossings_is_taken_and_all_are_counted():
    (result,) = find(along(0.3, 0.5, 0.8), toy_images(-1.0), quantise=False)
    assert result.boundary == pytest.approx(0.3, abs=1e-4)
    assert result.sign_changes == 3


def test_constant_classifier_has_no_counterfactual_and_no_map():
    constant = slope(0.0)
    images = toy_images(-1.0, 0.2)
    manifold = toy_manifold(-1.0, -0.9)  # a constant classifier sees its one class everywhere
    for result in find(constant, images, manifold):
        assert result.status == "not_found"
        assert "no training image" in result.reason
        assert result.counterfactual is None
        assert result.difference is None
        assert result.saliency is None
        assert len(result.tau) == 1
    for result in find(constant, images, reference="image", reference_codes=torch.ones(1)):
        assert result.status == "not_found"
        assert result.counterfactual is result.saliency is result.boundary is None
        assert result.closest is not None
        assert result.margin == 0
        assert len(result.path_images) == 21


@pytest.mark.parametrize("output", ["residual", "decoded"])
def test_evidence_is_the_change_at_the_end_of_the_path(output):
    (result,) = find(slope(4), toy_images(-1.0), output=output)
    size = (result.path_images[-1] - result.path_images[0]).abs().sum(0, keepdim=True)
    assert result.evidence.shape == (1, SIDE, SIDE)
    assert torch.allclose(result.evidence, size, atol=1e-5)  # at 6 pixels the smoothing is none
    assert float(result.evidence.min()) > 0.9 > float(result.saliency.max())


def test_evidence_needs_a_path_but_no_counterfactual():
    (lost,) = find(lambda code: 0 * code - 3, toy_images(-1.0))
    assert lost.status == "not_found"
    assert float(lost.evidence.max()) > 0.9
    (there,) = find(slope(4), toy_images(1.0), targets=torch.tensor([1]))
    assert there.evidence is None


def test_walking_to_ones_own_code_changes_nothing():
    images = toy_images(-1.0, -0.2)
    codes = ToyCAE().encode(images).class_code
    for output in ("residual", "decoded"):
        for result in find(slope(4.0), images, reference="image", reference_codes=codes, output=output):
            assert result.status == "not_found"
            assert torch.equal(result.path_images, result.path_images[:1].expand_as(result.path_images))
            assert torch.equal(result.closest, round_to_8_bits(result.original))


def test_reconstruction_that_changes_the_verdict_is_never_valid():
    class Flipping(ToyCAE):
        def decode(self, class_code, individual_code):
            return super().decode(-class_code, individual_code)

    manifold = toy_manifold(-1.0, 1.0)
    (result,) = find(slope(4.0), toy_images(-1.0), manifold, cae=Flipping(), output="decoded")
    assert result.status == "reconstruction_flip"
    assert not result.found
    assert result.counterfactual is None
    assert "bright" in result.reason
    (residual,) = find(slope(4.0), toy_images(-1.0), manifold, cae=Flipping())
    assert residual.status == "not_found"  # the residual starts at the image itself


def test_image_with_the_targets_verdict_needs_no_search():
    classifier = ToyClassifier(slope(4.0))
    (result,) = find(None, toy_images(0.6), classifier=classifier, target="bright")
    assert result.status == "already_target"
    assert classifier.evaluations == result.classifier_evaluations == 1
    assert result.difference is None


def test_constant_added_by_the_decoder_changes_nothing():
    images = toy_images(-0.5, -0.3)
    plain = find(slope(4.0), images, quantise=False)
    shifted = find(slope(4.0), images, quantise=False, cae=ToyCAE(shift=0.125))
    for a, b in zip(plain, shifted, strict=True):
        assert torch.allclose(a.difference, b.difference, atol=1e-6)
        assert torch.allclose(a.path_images, b.path_images, atol=1e-6)


def test_residual_path_starts_at_the_image_bit_for_bit():
    images = torch.rand(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.4
    for result, image in zip(find(slope(4.0), images), images, strict=True):
        assert torch.equal(result.path_images[0], image)
        assert torch.equal(result.original, image)


@pytest.mark.parametrize("mask", [True, False])
def test_an_images_own_class_code_changes_nothing_of_it(mask):
    torch.manual_seed(0)
    cae = CAE((1, 16, 16), ModelConfig(width=4, mask=mask)).eval()
    with torch.no_grad():
        for parameter in [*cae.editor.parameters(), cae.trunk.patches.weight, cae.class_encoder.head.weight]:
            parameter.normal_()  # a base image of another class code, and an editor that changes everything
        images = torch.rand(2, 1, 16, 16)
        transfer = ResidualEdit(cae, images)
        rows, own = torch.arange(2), transfer.codes.class_code
        read = cae.base(transfer.codes.individual_code).class_code
        torch.testing.assert_close(transfer.onto(rows, own), images, atol=1e-6, rtol=0)
        torch.testing.assert_close(transfer.decoded(rows, own), transfer.reconstructions, atol=1e-6, rtol=0)
        assert (read - own).abs().amax() > 1e-2
        assert (transfer.onto(rows, own + 1) - images).abs().amax() > 1e-3


def test_returned_image_has_256_levels_and_is_the_one_judged():
    for output in ("residual", "decoded"):
        classifier = ToyClassifier(slope(9.0))
        (result,) = find(None, toy_images(-0.7), classifier=classifier, output=output)
        levels = result.counterfactual * 255
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert torch.equal(classifier.probabilities(result.counterfactual[None])[0], result.boundary_probabilities)
        start = result.original if output == "residual" else result.reconstruction
        assert torch.equal(result.difference, result.counterfactual - start)
        assert result.margin == pytest.approx(float(target_margin(result.boundary_probabilities, torch.tensor(1))))
        assert result.margin >= 0.05


def test_evaluations_are_counted_exactly():
    for output, extra in (("residual", 0), ("decoded", 1)):
        classifier = ToyClassifier(slope(4.0))
        results = find(None, toy_images(-1.0, -0.6, 0.7), classifier=classifier, output=output, steps=11, bisections=4)
        assert [result.classifier_evaluations for result in results] == [1 + extra + 10 + 4] * 3
        assert [result.decoder_evaluations for result in results] == [1 + 10 + 4] * 3
        assert classifier.evaluations == sum(result.classifier_evaluations for result in results)


def test_references_are_tried_in_turn_for_those_that_need_it():
    # the two nearest references end before the decision changes at 0.5
    manifold = toy_manifold(-1.0, 0.1, 0.2, 1.0)
    answer = lambda code: 20 * (code - 0.5)  # noqa: E731
    classifier = ToyClassifier(answer)
    images = toy_images(-1.0, -0.8)
    results = find(None, images, manifold, classifier=classifier, steps=11, bisections=3)
    for result in results:
        assert result.found
        assert result.reference_ids == ("train3",)
        assert result.classifier_evaluations == 1 + 3 * 10 + 3
    assert classifier.evaluations == sum(result.classifier_evaluations for result in results)
    (short,) = find(answer, images[:1], manifold, references=2)
    assert short.status == "not_found"
    assert short.reference_ids == ("train2",)  # the second came closer
    assert "2 paths" in short.reason
    assert short.margin == pytest.approx(math.tanh(20 * (0.2 - 0.5) / 2), abs=0.01)


def test_same_result_at_any_batch_size_and_no_batch_is_larger():
    manifold = toy_manifold(-1.0, -0.8, 0.1, 0.4, 1.0)
    images = toy_images(-1.0, -0.6, 0.7, -0.2, 0.9)
    answer = lambda code: 9 * (code - 0.3)  # noqa: E731
    results = {}
    for size in (1, 7, 64):
        cae, classifier = ToyCAE(), ToyClassifier(answer)
        results[size] = find(None, images, manifold, cae=cae, classifier=classifier, batch_size=size)
        assert max(cae.largest, classifier.largest) <= size
    assert {result.status for result in results[1]} == {"found"}
    for one, other in zip(results[1] + results[1], results[7] + results[64], strict=True):
        assert one.boundary == other.boundary
        assert one.reference_ids == other.reference_ids
        assert one.classifier_evaluations == other.classifier_evaluations
        assert torch.equal(one.counterfactual, other.counterfactual)
        assert torch.equal(one.path_images, other.path_images)


def test_order_and_company_of_images_do_not_matter():
    images = toy_images(-1.0, -0.6, 0.7)
    together = find(slope(5.0), images)
    alone = [find(slope(5.0), images[k : k + 1])[0] for k in range(3)]
    for a, b in zip(together, alone, strict=True):
        assert a.boundary == b.boundary
        assert torch.equal(a.difference, b.difference)


def test_averaging_over_diverse_references():
    manifold = toy_manifold(-1.0, 0.1, 0.6, 1.0)
    answer = lambda code: 20 * (code - 0.5)  # noqa: E731
    (result,) = find(answer, toy_images(-1.0), manifold, average=3, quantise=False)
    assert result.averaged == 2  # 0.1 lies before the decision
    assert set(result.reference_ids) == {"train2", "train3"}
    assert result.difference_std is not None
    assert float(result.difference_std.max()) < 1e-3  # one dimension: both walks cross at the same code
    assert torch.all(result.confidence >= 0)
    (single,) = find(answer, toy_images(-1.0), manifold)
    assert single.averaged == 1
    assert single.difference_std is single.confidence is None


def test_graph_path_ends_where_the_line_ends():
    manifold = toy_manifold(*torch.linspace(-1, 1, 21).tolist())
    (line,) = find(slope(4.0), toy_images(-1.0), manifold, quantise=False)
    (graph,) = find(slope(4.0), toy_images(-1.0), manifold, quantise=False, path="graph")
    assert torch.equal(line.path_codes[[0, -1]], graph.path_codes[[0, -1]])
    assert torch.equal(graph.path_codes[0], ToyCAE().encode(line.original[None]).class_code[0])
    assert graph.counterfactual.allclose(line.counterfactual, atol=1e-3)


@pytest.mark.parametrize("differentiable", [True, False])
@pytest.mark.parametrize("output", ["residual", "decoded"])
def test_optimised_reference_reaches_the_target_by_gradient_or_at_random(differentiable, output):
    images = toy_images(-0.8, 0.6, -0.4)
    runs = []
    for size in (2, 64):
        classifier = ToyClassifier(slope(6.0), differentiable)
        results = find(
            None, images, classifier=classifier, reference="optimise", output=output, batch_size=size, seed=3
        )
        assert all(result.found for result in results)
        assert results[0].reference_ids == ("optimised",)
        assert classifier.evaluations == sum(result.classifier_evaluations for result in results)
        assert classifier.largest <= size
        runs.append(torch.stack([result.path_codes[-1] for result in results]))
    assert torch.allclose(*runs, atol=1e-4)


def test_optimised_reference_works_within_inference_mode():
    with torch.inference_mode():
        (result,) = find(slope(6.0), toy_images(-0.8), reference="optimise")
    assert result.found


def test_any_other_class_takes_the_nearest():
    class Three(ToyClassifier):
        classes = ("low", "middle", "high")

        def logits(self, images):
            self.evaluations += len(images)
            code = 2 * images[:, 0].mean((1, 2)) - 1
            return -20 * (code[:, None] - torch.tensor([-1.0, 0.0, 1.0])).square()

    codes = torch.tensor([[-1.0], [0.0], [0.1], [1.0]])
    probabilities = torch.eye(3)[[0, 1, 1, 2]]
    manifold = ClassManifold(codes, probabilities, torch.tensor([0, 1, 1, 2]), tuple("abcd"), Three.classes)
    images = toy_images(-1.0, 0.1, 0.9)
    results = find(None, images, manifold, classifier=Three(None), target="any")
    assert [result.source for result in results] == [0, 1, 2]
    assert [result.target for result in results] == [1, 2, 1]
    assert all(result.found and result.boundary_probabilities.argmax() == result.target for result in results)
    goals = targets_for(Three(None).probabilities(images), "all", Three.classes)
    assert [goal.tolist() for goal in goals] == [[1, 2, 1], [2, 0, 0]]
    (far,) = find(None, images[:1], manifold, classifier=Three(None), targets=goals[1][:1])
    assert far.found
    assert far.target == 2
    assert far.boundary > 0.5


def test_margin_is_against_the_best_other_class():
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    assert torch.allclose(target_margin(probabilities, torch.tensor([0, 1])), torch.tensor([0.2, -0.5]))


def test_a_tie_at_margin_zero_is_no_flip():
    # probabilities are equal from the middle on: the verdict stays with the first class
    (result,) = find(lambda code: torch.where(code < 0, -2.0, 0.0), toy_images(-1.0), margin=0.0, quantise=False)
    assert result.status == "not_found"


def test_targets_are_class_names_or_words():
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    classes = ("healthy", "mass", "cyst")
    assert targets_for(probabilities, "runner-up", classes)[0].tolist() == [1, 1]
    assert targets_for(probabilities, "cyst", classes)[0].tolist() == [2, 2]
    assert [t.tolist() for t in targets_for(probabilities, "all", classes)] == [[1, 1], [2, 0]]
    with pytest.raises(UserError, match="did you mean 'mass'"):
        targets_for(probabilities, "mas", classes)


def test_all_mistakes_of_a_call_are_named_at_once():
    with pytest.raises(UserError) as caught:
        find(slope(1.0), toy_images(-1.0), targets=torch.tensor([5]), reference="image", ids=["a", "b"])
    assert len(caught.value.problems) == 3
    with pytest.raises(UserError, match="targets_for"):
        find(slope(1.0), toy_images(-1.0), target="all")
    with pytest.raises(UserError, match="average"):
        find(slope(1.0), toy_images(-1.0), average=2, reference="optimise")


def test_result_cannot_be_changed_and_owns_its_tensors():
    (result, _) = find(slope(4.0), toy_images(-1.0, -0.5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = "found"
    assert result.path_images.untyped_storage().nbytes() == result.path_images.numel() * 4
    assert torch.equal(result.added - result.removed, result.difference.mean(0, keepdim=True))
    assert torch.allclose(result.reconstruction_error, torch.zeros_like(result.original), atol=1 / 255)
