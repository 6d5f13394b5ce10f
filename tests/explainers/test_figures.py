"""How maps are coloured in figures."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from cae.canvas import colour_mapped
from explainers.explanation import Explanation
from explainers.figures import displayed, maps_picture


def test_a_map_of_both_signs_is_divided_by_its_largest_value():
    values, words = displayed(torch.tensor([[-4.0, 0.0], [1.0, 2.0]]))
    assert values.tolist() == [[-1.0, 0.0], [0.25, 0.5]]
    assert words == "largest value 4"


def test_a_map_far_from_zero_begins_at_its_value_nearest_to_it():
    values, words = displayed(torch.tensor([[0.5, 0.75], [1.0, 1.5]]))
    assert values.tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert words == "values 0.5 to 1.5"
    values, _ = displayed(torch.tensor([[-3.0, -1.0]]))
    assert values.tolist() == [[-1.0, 0.0]]
    assert displayed(torch.tensor([[0.1, 1.0]]))[0].tolist() == [[pytest.approx(0.1), 1.0]]


def test_a_map_that_is_the_same_everywhere_stays_blank():
    assert displayed(torch.full((2, 2), 0.5))[0].abs().max() == 0
    assert displayed(torch.zeros(2, 2))[0].abs().max() == 0


def explanation(count: int) -> Explanation:
    maps = torch.linspace(-1, 1, 28 * 28).reshape(1, 1, 28, 28).repeat(count, 1, 1, 1)
    probabilities = torch.tensor([[0.25, 0.75]]).expand(count, -1)
    return Explanation(maps, torch.ones(count, dtype=torch.int64), probabilities, "occlusion", {},
                       torch.ones(count, dtype=torch.int64), 1.0, ({},) * count)  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_an_explanation_draws_its_maps_in_a_notebook(count):
    with Image.open(io.BytesIO(explanation(count)._repr_png_())) as picture:
        assert picture.format == "PNG"
        tiles = min(count, 24)
        assert picture.width >= min(tiles, 6) * (168 + 12)
        assert picture.height > -(-tiles // 6) * 168
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    ends = [
        tuple(map(int, colour))
        for colour in np.array(colour_mapped(np.array([[-1.0, 1.0]] * 2), "RdBu_r", -1, 1))[0, [0, -1]]
    ]
    for colour in ends:  # the map, and the colour bar below it
        assert (colours == colour).all(1).sum() >= tiles


def test_show_takes_the_names_of_the_classes():
    plt.close("all")
    explanation(2).show(["healthy", "mass"])
    named = np.asarray(maps_picture(explanation(2), ["healthy", "mass"]))
    assert (plt.gcf().axes[0].images[0].get_array() == named).all()
    assert (np.asarray(maps_picture(explanation(2))) != named).any()
    plt.close("all")
