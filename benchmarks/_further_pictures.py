"""Pictures beside those of the questions: quality against cost, and paired differences."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks._questions import COMPARED, FULL, LONG, MASK_METHODS, MASKS, Panel, Row


@dataclass(frozen=True)
class Picture:
    """A picture of the pages of questions and tables.

    Attributes:
        name: of its file.
        title: what it shows, for those who do not see it.
        rows: what is compared.
        panels: its columns.
        caption: below it.
        tables: whose pages show it.
        cost: drawn along the other axis of every column; None for one line a row.
        questions: whose pages show it.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    panels: tuple[Panel, ...]
    caption: str
    tables: tuple[str, ...]
    cost: Panel | None = None
    questions: tuple[str, ...] = ()


EVALUATIONS = Panel("evaluations of the classifier, one image", "{}/evaluations", better="low")
INTERVALS = "Bars: 95 % bootstrap intervals over images."
BLACK_BOXES = "Grad-CAM and Integrated Gradients need gradients, the others scores alone."
ON_PHOTOGRAPHS = {
    "pmi@masked_blur": "PMI", "occlusion": "Occlusion", "occlusion@wide": "Occlusion, 64 px", "rise": "RISE",
    "integrated_gradients": "Integrated Gradients", "gradcam": "Grad-CAM", "random": "random map",
}  # fmt: skip
OVER_RANDOM = (
    Panel("deletion with in-fill", "{}/deletion_infill_excess", 0),
    Panel("cell insertion", "{}/insertion_auc_excess", 0),
    Panel("cell deletion", "{}/deletion_auc_excess", 0),
)
OTHERS = ("occlusion", "rise", "occlusion@wide")
OTHER_NAMES = {"occlusion": "Occlusion", "rise": "RISE", "occlusion@wide": "Occlusion, 64 px"}
PMI_FILLS = {
    "masked_blur": "masked blur",
    "gray": "grey",
    "blur": "blur",
    "marginal": "marginal",
    "gaussian": "Gaussian",
}
CONCISE = (
    Panel("half by a second network, share", "{}/second_network_half", range=(-0.05, 1.05)),
    Panel("CP-Entropy, capped", "{}/cp_entropy_capped"),
)
MASKS_PAIRED = (
    Panel("seen by a second network, of its own", "ours_minus/{}/second_network", 0),
    Panel("CP-l1, capped", "ours_minus/{}/cp_l1_capped", 0),
    Panel("CP-Entropy, capped", "ours_minus/{}/cp_entropy_capped", 0),
    Panel("invented edges (gradient)", "ours_minus/{}/hallucination_gradient", 0, "low"),
    Panel("insertion − deletion", "ours_minus/{}/faithfulness", 0),
)
SPOILED = {"dilated": "dilated annotation", "shifted": "shifted annotation", "swapped": "swapped annotation"}


def _against(method: str, words: str, others: tuple[str, ...], before: str = "") -> tuple[Row, ...]:
    """Rows of paired differences on photographs."""
    return tuple(
        Row(f"{words} − {OTHER_NAMES[other]}", "explanations_photographs", f"{before}{method} - {other}", ours=True)
        for other in others
    )


def _masks(stem: str, steps: int, without: tuple[str, ...] = ()) -> tuple[Row, ...]:
    return tuple(
        Row(f"ours − {words}, {steps} steps", stem, name, ours=True)
        for name, words in MASK_METHODS.items()
        if name not in ("shearletx", *without)
    )


PICTURES = (
    Picture(
        "explainers_lesions_cost",
        "Explainers of lesions: quality against evaluations",
        tuple(
            Row(words.replace("control: ", "").replace(" counterfactual", ""), "explanations_lesions", name,
                ours=name in ("cae", "pmi"))
            for name, words in COMPARED.items()
        ),
        (*OVER_RANDOM[:2], Panel("AUPRC of the mask", "{}/auprc", range=(-0.05, 1.05))),
        f"{INTERVALS} The CAE's evaluations are those of one explanation, after its training. {BLACK_BOXES}",
        ("explanations",), EVALUATIONS, ("explainers_lesions",),
    ),
    Picture(
        "explainers_photographs_cost",
        "Explainers of photographs: quality against evaluations",
        tuple(Row(words, "explanations_photographs", name, ours=name.startswith("pmi"))
              for name, words in ON_PHOTOGRAPHS.items()),
        OVER_RANDOM,
        f"{INTERVALS} How much better than random orders (dashed). {BLACK_BOXES}",
        ("explanations",), EVALUATIONS, ("explainers_photographs",),
    ),
    Picture(
        "explainers_photographs_paired",
        "Information maps on photographs: paired differences to methods that ask for scores alone",
        (*_against("pmi@masked_blur", "confirmation half: masked blur", OTHERS[:2], "confirmation: "),
         *(row for fill, words in PMI_FILLS.items() for row in _against(f"pmi@{fill}", words, OTHERS))),
        OVER_RANDOM,
        "Points: means of differences image by image, bars: 95 % bootstrap intervals; right of the dashed line "
        "information maps are better. The confirmation half chose nothing.",
        ("explanations",), None, ("explainers_photographs",),
    ),
    Picture(
        "explainers_lesions_paired",
        "Information maps on lesions: paired differences to methods that ask for scores alone",
        tuple(Row(f"PMI − {OTHER_NAMES[other]}", "explanations_lesions", f"pmi - {other}", ours=True)
              for other in OTHERS[:2]),
        OVER_RANDOM,
        "Points: means of differences image by image, bars: 95 % bootstrap intervals; right of the dashed line PMI is "
        "better.",
        ("explanations",),
    ),
    Picture(
        "shearletx_quality_cost",
        "Mask explainers: what they are worth against evaluations",
        (*(Row(f"{words.replace(', published', '')}, 60", FULL, name, ours=name == "shearletx")
           for name, words in MASK_METHODS.items()),
         *(Row(f"{words.replace(', published', '')}, 300", LONG, name, ours=name == "shearletx")
           for name, words in MASK_METHODS.items() if name != "pixelmask_published")),
        CONCISE,
        "Medians over 20 photographs with 95 % bootstrap intervals; shares with Wilson's. Numbers: steps; 60 had 2 "
        "noisy pictures each, 300 steps 16. All but ours: published settings.",
        ("shearletx",), EVALUATIONS, ("shearletx",),
    ),
    Picture(
        "shearletx_paired",
        "Mask explainers: paired differences of ours to the published settings",
        (*_masks(FULL, 60), *_masks(LONG, 300, ("pixelmask_published",))),
        MASKS_PAIRED,
        "Medians of differences photograph by photograph, bars: 95 % bootstrap intervals. Dashed: no difference.",
        ("shearletx",),
    ),
    Picture(
        "multirex_cost",
        "MultiReX: explanations against evaluations",
        (*(Row(f"budget {budget}", "multirex", f"curve/threshold_0/budget_{budget}", ours=True)
           for budget in (250, 500, 1000, 2000, 4000)),
         Row("official tool", "multirex", "official")),
        (Panel("disjoint explanations, mean", "{}/explanations"),),
        "Eight photographs under rising budgets, bars: 95 % bootstrap intervals; the official tool on 16, of "
        "which no interval was kept.",
        ("multirex",), replace(EVALUATIONS, title="evaluations of the classifier, median"), ("multirex",),
    ),
    Picture(
        "causal_scores_paired",
        "Causal scores: differences to exact annotations",
        tuple(Row(f"{of}: {SPOILED.get(name, name.replace('_', ' '))}", "caes_lesions", f"{of}/{name}")
              for of in ("mass", "cyst") for name in MASKS if name != "data"),
        (Panel("necessity, nats", "{}/necessity/difference", 0),
         Panel("necessity beyond equal area, nats", "{}/necessity_gain/difference", 0),
         Panel("sufficiency, nats", "{}/sufficiency/difference", 0),
         Panel("do-effect of object features", "{}/caes_do/difference", 0)),
        "Points: means of differences to the exact annotation, image by image, bars: 95 % bootstrap intervals.",
        ("causal_scores",), None, ("causal_scores",),
    ),
)  # fmt: skip
