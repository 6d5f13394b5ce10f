"""Options of former versions: an older saved configuration still opens, and a recipe is told what changed."""

from __future__ import annotations

# former name of an option -> its present name
RENAMED: dict[str, str] = {}
# present name of an option -> former value -> present value
RENAMED_VALUES: dict[str, dict[str, str]] = {"cae.preset": {"reference": "published"}}
# former name of an option that is gone -> what a user of it should know, as the end of a sentence
DROPPED: dict[str, str] = {
    "sampler.weight_decay": "the learned in-fill is trained with a weight decay of 0.01",
    "sampler.gradient_clip": "the gradients of the learned in-fill are clipped at a norm of 1",
    "sampler.ema": "the averaged weights of the learned in-fill keep 0.999 of themselves at each step",
    "counterfactual.optimise_distance": "the search with reference=optimise always weighs the squared distance by 0.02",
    "caes.top": "one of a hundred features counts as the top, as published",
    "ncc.batch_pairs": "a step takes 16 pairs, as published",
}
