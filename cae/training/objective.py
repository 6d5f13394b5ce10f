"""Our training objective: which swaps are decoded in a step, and every loss term on them. No Lightning in here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.config import CAEConfig
from cae.data import Batch
from cae.models.cae import CAE, Base, Codes, Decoded
from cae.models.networks import Discriminator, LeakageAdversary, fixed_statistics
from cae.training import losses
from cae.training.augmentation import clamp_straight_through, random_view
from cae.training.patch_swaps import find_grafts

SAME_CLASS_SHARE = 0.25  # of the donors have the recipient's own verdict
UNDO_SHARE = 0.25  # of the swaps are undone, for it costs a second pass
SMOTE_SHARE = 0.25  # of the swaps take a code between two donors
CONVINCED = 0.25  # nats of divergence at which the pull towards smaller edits has fallen to 1/e
LABEL_LOGIT = 6.0  # a label as logits: nearly certain, yet finite


@dataclass(frozen=True)
class Swaps:
    """One step's forward pass: class codes of B images, R reconstructions and P swaps, before any loss."""

    images: Tensor  # (B, C, H, W)
    answers: Tensor  # (B, K) logits of the classifier, or of the labels
    codes: Codes  # class codes (B, D), individual codes (R, S, h, w) of the first R images
    reconstruction: Tensor  # (R, C, H, W): the base images, for their own codes change nothing of them
    recipients: Tensor  # (P,) indices below R
    donor_codes: Tensor  # (P, D)
    donor_probabilities: Tensor  # (P, K), tempered
    swap: Decoded  # (P, C, H, W)

    @property
    def originals(self) -> Tensor:
        """The images that were reconstructed, ``(R, C, H, W)``."""
        return self.images[: len(self.reconstruction)]


def choose_donors(verdicts: Tensor, recipients: Tensor, same_class_share: float = SAME_CLASS_SHARE) -> Tensor:
    """One donor for each recipient, drawn so that every other verdict of the batch is equally likely.

    Args:
        verdicts: ``(B,)`` classes of the batch.
        recipients: ``(P,)`` indices into the batch.
        same_class_share: probability of a donor of the recipient's own verdict (never itself).

    Returns:
        ``(P,)`` indices into the batch. Where no donor of the wanted kind exists, the other kind is drawn.
    """
    same = verdicts[recipients, None] == verdicts[None, :]
    itself = recipients[:, None] == torch.arange(len(verdicts), device=verdicts.device)
    sizes = torch.bincount(verdicts)[verdicts].float()
    other = (~same).float() / sizes
    other = other / other.sum(1, keepdim=True).clamp_min(1e-9)
    own = (same & ~itself).float()
    own = own / own.sum(1, keepdim=True).clamp_min(1e-9)
    # the tiny constant matters only where a batch holds a single image
    weights = (1 - same_class_share) * other + same_class_share * own + 1e-9
    return torch.multinomial(weights, 1)[:, 0]


class Objective(nn.Module):
    """Loss terms of the generator (E_c, E_s, G), and of the networks beside it: discriminator D, leakage adversary A.

    The generator's terms see D and A through detached parameters, the others see detached images and codes: the sum of
    all losses can be minimised in one step, and each network follows its own loss alone.

    Args:
        cae: the model in training.
        classes: K.
        config: weights and switches; a weight of 0 removes the term and its computation.
        classifier: the frozen target classifier.
        mean_probabilities: ``(K,)`` mean answer of the classifier over the training split, for L_leak.

    Reference: Xie et al. 2024, arXiv:2406.07961, building-block coherency; terms: docs/methods.
    """

    mean_probabilities: Tensor

    def __init__(
        self, cae: CAE, classes: int, config: CAEConfig, classifier: TargetClassifier, mean_probabilities: Tensor
    ):
        super().__init__()
        self.config, self.weights, self.classes = config, config.loss, classes
        # in lists, the two stay out of this module's parameters: the CAE is the caller's, the classifier is frozen
        self._cae, self._classifier = [cae], [classifier]
        channels, model = cae.image_shape[0], config.model
        self.discriminator = Discriminator(channels, classes, model.discriminator_width, model.class_downsampling)
        self.adversary = LeakageAdversary(model.individual_channels, classes, model.width)
        self.answer_head = nn.Linear(model.class_dim, classes)
        self.class_scale, self.individual_scale = losses.RunningScale(), losses.RunningScale()
        self.queue = losses.CodeQueue(256, model.class_dim, classes)
        self.register_buffer("mean_probabilities", mean_probabilities.float())

    @property
    def cae(self) -> CAE:
        """The model in training."""
        return self._cae[0]

    @property
    def classifier(self) -> TargetClassifier:
        """The frozen target classifier."""
        return self._classifier[0]

    # --- forward ------------------------------------------------------------------------------------------------------

    def answers(self, batch: Batch) -> Tensor:
        """What the codes shall follow, ``(B, K)`` logits: the classifier's, or (published recipe) of the labels."""
        if self.config.target == "labels":
            return LABEL_LOGIT * F.one_hot(batch.labels, self.classes).to(batch.images)
        with torch.no_grad():
            return self.classifier.logits(batch.images).float()

    def swaps(self, images: Tensor, answers: Tensor) -> Swaps:
        """Encode the batch, choose donors, decode reconstructions and swaps.

        Args:
            images: ``(B, C, H, W)`` in [0, 1].
            answers: ``(B, K)`` logits that the codes shall follow.
        """
        count = min(self.config.recipients, len(images))
        # from the end of the warm-up on, codes are those of the exported model: statistics of a batch would make them
        # others in training than in validation
        with fixed_statistics(self.cae.class_encoder):
            codes = self._encode(images, count)
        base = self.cae.base(codes.individual_code, codes.class_code[:count])
        reconstruction = self.cae.to_unit(base.image)
        recipients = torch.arange(self.config.pairs, device=images.device) % count
        donor_codes, donor_probabilities = self._donors(codes.class_code, answers, recipients)
        swap = self.cae.join(donor_codes, base[recipients])
        return Swaps(images, answers, codes, reconstruction, recipients, donor_codes, donor_probabilities, swap)

    def _encode(self, images: Tensor, recipients: int) -> Codes:
        """Class codes of all images, which are cheap, and individual codes of the first ``recipients``."""
        return Codes(self.cae.encode_class(images), self.cae.encode_individual(images[:recipients]))

    def _donors(self, codes: Tensor, answers: Tensor, recipients: Tensor) -> tuple[Tensor, Tensor]:
        """A class code for each recipient and its answer; some are mixed from two codes of one verdict."""
        verdicts, probabilities = answers.argmax(1), F.softmax(answers / self.weights.temperature, dim=1)
        donors = choose_donors(verdicts, recipients)
        if self.weights.smote == 0:
            return codes[donors], probabilities[donors]
        count = int(SMOTE_SHARE * len(recipients))
        mixed, mixed_probabilities = losses.smote_codes(codes, probabilities, verdicts, count)
        return torch.cat([mixed, codes[donors[count:]]]), torch.cat(
            [mixed_probabilities, probabilities[donors[count:]]]
        )

    @torch.no_grad()
    def remember(self, swaps: Swaps) -> None:
        """Put the batch's class codes into the queue that the variance terms look at."""
        self.queue.push(swaps.codes.class_code.detach(), F.softmax(swaps.answers, dim=1))

    # --- terms of the generator ---------------------------------------------------------------------------------------

    def warmup_terms(self, images: Tensor, answers: Tensor) -> dict[str, Tensor]:
        """Reconstruction, and class codes that tell the answer: a start from which swaps make sense."""
        count = min(self.config.recipients, len(images))
        codes = self._encode(images, count)
        if not self._grafting:
            reconstruction = self.cae.to_unit(self.cae.trunk(codes.individual_code)[0])
            return self._own_terms(reconstruction, images[:count], codes, answers)
        base = self.cae.base(codes.individual_code, codes.class_code[:count])
        terms = self._own_terms(self.cae.to_unit(base.image), images[:count], codes, answers)
        return terms | {"graft": self._graft(images, answers.argmax(1), codes, base)}

    @property
    def _grafting(self) -> bool:
        """Whether L_graft is wanted, and can be had: it needs a mask, and a classifier that may be asked often."""
        config = self.config
        return self.weights.graft > 0 and config.model.gate and config.target == "classifier" and not config.black_box

    def _graft(self, images: Tensor, verdicts: Tensor, codes: Codes, base: Base) -> Tensor:
        """L_graft, a scalar: with a donor's class code, the editor makes of an image what a patch of the donor made."""
        recipients = torch.arange(len(base.image), device=images.device)
        donors = choose_donors(verdicts, recipients, same_class_share=0.0)
        wanted = torch.where(verdicts[donors] == verdicts[recipients], -1, verdicts[donors])
        own = images[: len(recipients)]
        grafts = find_grafts(own, images[donors], wanted, self.classifier.logits, self.config.grafts)
        if len(grafts) == 0:
            return images.new_zeros(())
        edit = self.cae.join(codes.class_code[donors[grafts.rows]].detach(), base[grafts.rows])
        # no mean: a step that finds few shall not count each for more
        return _known_edit(edit, own[grafts.rows], grafts.images, grafts.masks).sum() / len(own)

    def generator_terms(self, swaps: Swaps) -> dict[str, Tensor]:
        """Raw terms of the generator by name, each a scalar; those of weight 0 are absent."""
        weights, shown = self.weights, self._shown(swaps)
        terms = self._own_terms(swaps.reconstruction, swaps.originals, swaps.codes, swaps.answers)
        convinced = torch.ones_like(swaps.donor_probabilities[:, 0])
        if weights.coherency > 0:
            divergence = self._divergence(swaps, shown)
            terms["coherency"] = divergence.mean()
            convinced = torch.exp(-divergence.detach() / CONVINCED)
        if weights.reconstruction_answer > 0:
            logits = self._judge(swaps.reconstruction)
            answers = swaps.answers[: len(logits)]
            terms["reconstruction_answer"] = losses.coherency(answers, logits, weights.temperature).mean()
        if weights.minimal > 0:
            # only an edit that convinces is asked to be smaller: before that, the smallest edit would be none
            terms["minimal"] = (convinced * losses.minimal_edit(shown, swaps.images[swaps.recipients])).mean()
        if weights.adversarial > 0:
            logits = self._discriminated(clamp_straight_through(shown))
            terms["adversarial"] = losses.wanted_class(swaps.donor_probabilities, logits).mean()
        if weights.leakage > 0:
            logits = _frozen(self.adversary, swaps.codes.individual_code)
            terms["leakage"] = losses.leakage_encoder(self.mean_probabilities, logits).mean()
        if weights.undo > 0 and swaps.swap.mask is not None:
            terms["undo"] = self._undo(swaps, shown, swaps.swap.mask).mean()
        return {
            **terms,
            **self._gate_terms(swaps.swap.mask, convinced),
            **self._code_terms(swaps),
        }

    def _shown(self, swaps: Swaps) -> Tensor:
        """What explanations show of the swaps, ``(P, C, H, W)``: the change in the recipients themselves.

        That is what D sees: a decoded image gives itself away by its smoothness, whatever the change.
        """
        if self.config.coherency_on == "decoded":
            return swaps.swap.image
        return swaps.swap.onto(swaps.images[swaps.recipients])

    def _discriminated(self, images: Tensor) -> Tensor:
        """D's logits ``(N, K + 1)`` with a gradient to the images alone."""
        with fixed_statistics(self.discriminator):  # those of its own training
            return _frozen(self.discriminator, images)

    def _divergence(self, swaps: Swaps, shown: Tensor) -> Tensor:
        """KL of each swap's answer from its donor's, ``(P,)``: L_bb is its mean."""
        if self.config.coherency_on == "decoded":
            images = swaps.swap.image
        elif self.config.coherency_on == "residual":
            images = shown
        else:  # every swap in one of its two forms: half the price of judging both
            decoded = torch.rand(len(shown), 1, 1, 1, device=shown.device) < 0.5
            images = torch.where(decoded, swaps.swap.image, shown)
        log_p = losses.log_probabilities(self._judge(images), self.weights.temperature)
        return losses.kl_divergence(swaps.donor_probabilities, log_p)

    def _judge(self, images: Tensor) -> Tensor:
        """Logits ``(N, K)`` with a gradient to the images: of the classifier, or of the class head that imitates it."""
        images = clamp_straight_through(images)
        images = random_view(images) if self.config.robust_views else images
        if self.config.black_box:
            return self._discriminated(images)[:, : self.classes]
        return self.classifier.logits(images)

    def _gate_terms(self, mask: Tensor | None, convinced: Tensor) -> dict[str, Tensor]:
        terms = {}
        if mask is not None and self.weights.gate_area > 0:
            terms["gate_area"] = (convinced * losses.gate_area(mask)).mean()
        if mask is not None and self.weights.gate_variation > 0:
            terms["gate_variation"] = losses.total_variation(mask).mean()
        return terms

    def _undo(self, swaps: Swaps, shown: Tensor, mask: Tensor) -> Tensor:
        """L_undo of the last swaps, whose donors are images.

        Where evidence is removed, the image says where it is. Where it is to be added, only the classifier could tell,
        and the gradient of a place that no edit has tried yet is near zero: the cheapest edit is then an adversarial
        pattern elsewhere. But each swap that removes evidence shows what adding it looks like: the swap is taken for
        an image, and its original for the counterfactual that is wanted of it. Only the decoder and the editor learn
        from this; swaps do not become easier to undo.
        """
        count = max(int(UNDO_SHARE * len(shown)), 1)
        own, edited = swaps.recipients[-count:], shown[-count:].detach().clamp(0, 1)
        with torch.no_grad(), fixed_statistics(self.cae.class_encoder):
            individual, present = self.cae.encode_individual(edited), self.cae.encode_class(edited)
        back = self.cae.join(swaps.codes.class_code[own].detach(), self.cae.base(individual, present))
        return _known_edit(back, edited, swaps.images[own], mask[-count:])

    def _code_terms(self, swaps: Swaps) -> dict[str, Tensor]:
        """L_cc, L_ss, L_cyc: both codes are readable from the swap."""
        weights, terms = self.weights, {}
        if weights.class_code > 0:
            sigma = self.class_scale(swaps.codes.class_code)
            with fixed_statistics(self.cae.class_encoder):  # those of real images
                read = self.cae.encode_class(swaps.swap.image)
            terms["class_code"] = losses.normalised_code_distance(read, swaps.donor_codes, sigma).mean()
        if weights.individual_code == 0 and weights.cycle == 0:
            return terms
        read = self.cae.encode_individual(swaps.swap.image)
        if weights.individual_code > 0:
            sigma = self.individual_scale(swaps.codes.individual_code)
            own = swaps.codes.individual_code[swaps.recipients]
            terms["individual_code"] = losses.normalised_code_distance(read, own, sigma).mean()
        if weights.cycle > 0:
            back = self.cae.join(swaps.codes.class_code[swaps.recipients], self.cae.base(read))
            terms["cycle"] = losses.reconstruction(back.image, swaps.images[swaps.recipients]).mean()
        return terms

    def _own_terms(self, images: Tensor, originals: Tensor, codes: Codes, answers: Tensor) -> dict[str, Tensor]:
        """L_rec, L_ca, L_var and L_cov: what needs no swap."""
        terms = {}
        if self.weights.reconstruction > 0:
            terms["reconstruction"] = losses.reconstruction(images, originals).mean()
        if self.weights.class_answer > 0:
            terms["class_answer"] = losses.coherency(answers, self.answer_head(codes.class_code)).mean()
        return {**terms, **self._collapse_terms(codes)}

    def _collapse_terms(self, codes: Codes) -> dict[str, Tensor]:
        """L_var and L_cov over the batch and the queue."""
        population = torch.cat([codes.class_code, self.queue.view()[0]])
        terms = {"variance": losses.variance_term, "covariance": losses.covariance_term}
        return {name: term(population) for name, term in terms.items() if getattr(self.weights, name) > 0}

    # --- terms of the networks beside the generator -------------------------------------------------------------------

    def warmup_other_terms(self, images: Tensor, answers: Tensor) -> dict[str, Tensor]:
        """D learns the classes of real images, so that it can tell what a swap lacks from the first one on."""
        if self.weights.adversarial == 0 and not self.config.black_box:
            return {}
        probabilities = F.softmax(answers / self.weights.temperature, dim=1)
        return {"real": losses.wanted_class(probabilities, self.discriminator(images)).mean()}

    def other_terms(self, swaps: Swaps, penalise: bool, query: bool) -> dict[str, Tensor]:
        """Raw terms of D and A by name; swaps and codes are detached.

        Args:
            swaps: the step's forward pass.
            penalise: add R1.
            query: ask the classifier about the swaps (black-box training only).
        """
        terms: dict[str, Tensor] = {}
        if self.weights.adversarial > 0 or self.config.black_box:
            terms |= self._discriminator_terms(swaps, penalise and self.weights.r1 > 0, query)
        if self.weights.leakage > 0:
            logits = self.adversary(swaps.codes.individual_code.detach())
            terms["adversary"] = losses.leakage_adversary(F.softmax(swaps.answers[: len(logits)], dim=1), logits).mean()
        return terms

    def _discriminator_terms(self, swaps: Swaps, penalise: bool, query: bool) -> dict[str, Tensor]:
        probabilities = F.softmax(swaps.answers / self.weights.temperature, dim=1)
        images = swaps.images.detach().requires_grad_(penalise)
        fakes = self._shown(swaps).detach().clamp(0, 1)
        real, fake = self.discriminator(torch.cat([images, fakes])).split([len(images), len(fakes)])
        terms = {
            "real": losses.wanted_class(probabilities, real).mean(),
            "fake": losses.generated_class(fake).mean(),
        }
        if penalise:
            wanted = (probabilities * F.softmax(real, dim=1)[:, : self.classes]).sum(1)
            terms["r1"] = losses.r1_penalty(images, wanted).mean()
        if self.config.black_box:
            terms |= self._imitation_terms(swaps, real[:, : self.classes], query)
        return terms

    def _imitation_terms(self, swaps: Swaps, real: Tensor, query: bool) -> dict[str, Tensor]:
        """The class logits learn the answers of a classifier without gradients, on real images and on queried swaps."""
        temperature = self.weights.temperature
        terms = {"imitation": losses.coherency(swaps.answers, real, temperature).mean()}
        if query:
            asked = swaps.swap.image.detach().clamp(0, 1)
            with torch.no_grad():
                answers = self.classifier.logits(asked).float()
            seen = self.discriminator(asked)[:, : self.classes]
            terms["imitation_swaps"] = losses.coherency(answers, seen, temperature).mean()
        return terms

    def weighted_others(self, terms: dict[str, Tensor], r1_every: int) -> Tensor:
        """Sum of the terms of D and A, with R1 scaled up for being computed only every so many steps."""
        weights = {"real": 1.0, "fake": 0.5, "r1": self.weights.r1 * r1_every / 2}
        total = self.mean_probabilities.new_zeros(())
        for name, term in terms.items():
            total = total + weights.get(name, 1.0) * term
        return total


def _known_edit(edit: Decoded, images: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """The loss of a decoding with a mask that is known to give ``wanted``, ``(N,)``."""
    assert edit.mask is not None
    assert edit.logits is not None
    return losses.known_edit(edit.paint, edit.mask, edit.logits, images, wanted, mask)


def _frozen(network: nn.Module, *inputs: Tensor) -> Tensor:
    """Apply a network through detached parameters: gradients reach the inputs, never the network."""
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return torch.func.functional_call(network, parameters, inputs)
