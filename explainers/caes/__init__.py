"""Causal explanation scores: do the features that react to a masked area carry the classifier's evidence?

Only the idea of the published score (CaES) is public; the terms here are defined in ``score_terms.py``, each under
its own name.
"""

from explainers.caes.causal_scores import causal_scores
from explainers.caes.result import CausalScores, Difference, ScoreTerm
from explainers.caes.study import ClassStudy, ScoreSettings

__all__ = ["CausalScores", "ClassStudy", "Difference", "ScoreSettings", "ScoreTerm", "causal_scores"]
