"""The seven checks: a healthy model passes all of them, and each fails on a model built to break it."""

import pytest
import torch
import torch.nn.functional as F
from helpers import Linear, Recorder, convolutional, random_images, snapshot
from torch import nn

from advlook.attacks.checks import (
    QUERIES,
    REMEDIES,
    Check,
    falls_to_zero,
    fgsm_against_pgd,
    logits_wanted,
    run_checks,
    same_answers,
    search_against_pgd,
    transfer_against_pgd,
    usable_gradients,
)
from advlook.core.errors import RequestError

FGSM, FAR, TRANSFER, SEARCH, GRADIENTS, LOGITS, RANDOM = REMEDIES
EPS = 0.02


class Misleading(torch.autograd.Function):
    """The identity, with a gradient of the wrong sign for the images chosen `(N,) bool`."""

    @staticmethod
    def forward(ctx, images, chosen):
        ctx.save_for_backward(chosen)
        return images.clone()

    @staticmethod
    def backward(ctx, gradient):
        (chosen,) = ctx.saved_tensors
        return torch.where(chosen.view(-1, 1, 1, 1), -gradient, gradient), None


class Broken(nn.Module):
    """A model with something wrong `before` it and `after` it."""

    def __init__(self, model, before=None, after=None):
        super().__init__()
        self.model, self.before, self.after = model, before or nn.Identity(), after or nn.Identity()

    def forward(self, images):
        return self.after(self.model(self.before(images)))


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, value):
        return self.function(value)


def wrong_way(images):
    """Masks every gradient."""
    return Misleading.apply(images, torch.ones(len(images), dtype=torch.bool))


def wrong_way_off_the_grid(images):
    """Masks the gradient of all images but those of whole bytes, as they come from a file."""
    return Misleading.apply(images, ((images * 255).round() / 255 != images).flatten(1).any(1))


def hidden_infinity(images):
    """The images, and a gradient of 0 times infinity."""
    return images + 0 * (images - images.detach()).sqrt()


BREAKS = {
    "gradient wrong after a step": (FGSM, {"before": wrong_way_off_the_grid}),
    "gradient wrong, at a great radius": (FAR, {"before": wrong_way}),
    "gradient wrong, another's right": (TRANSFER, {"before": wrong_way}),
    "gradient wrong, none is asked for": (SEARCH, {"before": wrong_way}),
    "quantised": (GRADIENTS, {"before": lambda x: (x * 16).round() / 16}),
    "overconfident beyond float32": (GRADIENTS, {"after": lambda z: 1e6 * z}),
    "gradient not finite": (GRADIENTS, {"before": hidden_infinity}),
    "softmax": (LOGITS, {"after": lambda z: z.softmax(1)}),
    "softmax in half precision": (LOGITS, {"after": lambda z: z.softmax(1).bfloat16()}),
    "dropout at test time": (RANDOM, {"before": lambda x: F.dropout(x, 0.1)}),
    "noise": (RANDOM, {"before": lambda x: x + 0.01 * torch.randn_like(x)}),
}


@pytest.fixture(scope="module")
def healthy():
    """A model, images of whole bytes, and the labels that the model gives them."""
    model = convolutional().eval()
    images = (random_images(60, 8) * 255).round() / 255
    return model, images, model(images).argmax(1)


def by_name(checks):
    return {check.name: check for check in checks}


def check(model, images, labels, **options):
    return by_name(run_checks(model, images, labels, EPS, **{"steps": 5, **options}))


def mask(text):
    """`"1101"` as a bool tensor."""
    return torch.tensor([c == "1" for c in text])


def test_healthy_model_passes(healthy):
    """Every check passes on a model with nothing wrong, in the order of the remedies, and something was at stake."""
    checks = run_checks(*healthy, EPS, source=convolutional(seed=1), steps=5)
    assert [c.name for c in checks] == list(REMEDIES)
    assert [c.passed for c in checks] == [True] * 7
    under_fgsm = float(checks[0].finding.split("%")[0])
    assert 0 < under_fgsm < 100


@pytest.mark.parametrize(("name", "wrong"), BREAKS.values(), ids=BREAKS.keys())
def test_broken_model_fails(healthy, name, wrong):
    """A model built to break a check fails it."""
    model, images, _ = healthy
    broken = Broken(model, **{place: Does(function) for place, function in wrong.items()})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = check(broken, images, broken(images).argmax(1), source=model)
    assert found[name].passed is False


def test_what_is_harmless_passes(healthy):
    """Log-probabilities pass for logits; a dropout layer that eval mode switches off is not random."""
    model, images, labels = healthy
    harmless = Broken(model, before=nn.Dropout(0.5).train(), after=nn.LogSoftmax(1))
    assert all(c.passed for c in check(harmless, images, labels, source=model).values())


def test_both_models_run_in_eval_mode_and_are_left_alone(healthy):
    """Findings are those of eval mode, whatever mode the models come in; modes, weights and gradients stay."""
    _, images, labels = healthy
    first, second = (Broken(convolutional(seed=seed), before=nn.Dropout(0.5)) for seed in (0, 1))
    expected = check(first.eval(), images, labels, source=second.eval())
    first.train().model[1].eval()
    second.train()
    for model in (first, second):
        model.model[0].weight.grad = torch.ones_like(model.model[0].weight)
        model.model[0].bias.requires_grad_(False)
    before, generator = [snapshot(first), snapshot(second)], torch.get_rng_state()
    assert check(first, images, labels, source=second) == expected
    assert [snapshot(first), snapshot(second)] == before
    assert torch.equal(torch.get_rng_state(), generator)


def test_findings_depend_on_the_seed_alone(healthy):
    """The same seed gives the same findings, and others from another, where only PGD's random start can fool."""
    model, images, labels = healthy
    rounding = Broken(model, before=Does(lambda x: (x * 16).round() / 16))
    runs = [run_checks(rounding, images, labels, EPS, steps=1, seed=seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_batches_hold_every_image(healthy):
    """What is measured without draws does not depend on the batches, of which the last is smaller."""
    model, images, labels = healthy
    labels = torch.cat([labels[:45], (labels[45:] + 1) % 3])
    wrong = Broken(model, before=Does(lambda x: torch.where((corner(x) > 0.5).view(-1, 1, 1, 1), x, x.detach())))
    whole, parts = (check(wrong, images, labels, source=convolutional(seed=1), batch_size=n) for n in (60, 7))
    for name in (GRADIENTS, LOGITS):
        assert whole[name] == parts[name]
    share = 100 * (corner(images) <= 0.5).double().mean().item()
    assert f"zero on {share:.1f}%" in whole[GRADIENTS].finding
    assert whole[TRANSFER].finding.split(",")[0] == parts[TRANSFER].finding.split(",")[0]


def corner(images):
    """The first value of every image."""
    return images[:, 0, 0, 0]


def test_nothing_is_measured_twice(healthy):
    """One clean pass, one gradient, one FGSM, PGD at two radii, random search: no more passes than these need."""
    model, images, labels = healthy
    recorder = Recorder(Broken(model, before=Does(wrong_way)))  # no image is lost, so that PGD goes all its steps
    check(recorder, images, labels)
    a_pgd = 5 + 1 + 1  # its steps, its last look, and the count of its survivors
    a_search = 1 + QUERIES + 1  # a look at the images, its queries, and the count
    assert len(recorder.sizes) <= 1 + 1 + 2 + 2 * a_pgd + a_search + 1
    assert sum(recorder.sizes) <= 60 * (1 + 1 + 2 + 2 * a_pgd + a_search) + 1


def test_wrong_images_never_count_as_survivors(healthy):
    """Images that are wrong from the start are lost, even where an attack led the wrong way makes them right."""
    model, images, labels = healthy
    found = check(Broken(model, before=Does(wrong_way)), images, (labels + 1) % 3)
    assert found[FGSM].finding == "0.0% right under FGSM, 0.0% under PGD, 60 images"


def test_transfer_needs_a_source(healthy):
    """Without a source model the check of transfer is not run, and says so in the table."""
    row = check(*healthy)[TRANSFER].as_row()
    assert row == {"check": TRANSFER, "passed": "not run", "finding": "no source model was given"}


def test_constant_answer_is_no_failed_attack():
    """A model with one answer for everything keeps the images of that class: undecided, but without gradients."""
    model = Linear(classes=3)
    nn.init.zeros_(model.layer.weight)
    nn.init.constant_(model.layer.bias[1:2], 1.0)
    found = check(model, random_images(9), torch.arange(9) % 3)
    assert found[FAR].passed is None
    assert found[FAR].finding.startswith("33.3% right, 33.3% under PGD at eps 0.5")
    assert found[GRADIENTS].passed is False
    assert found[RANDOM].passed is True


@pytest.mark.parametrize("judge", [fgsm_against_pgd, transfer_against_pgd, search_against_pgd])
@pytest.mark.parametrize(
    ("images", "only_pgd", "only_other", "passed"),
    [
        (1000, 10, 0, True),  # a point
        (1000, 11, 0, False),
        (100, 4, 0, True),  # within two standard deviations of chance
        (100, 5, 0, False),
        (1000, 60, 45, True),  # 1.5 points, but 20 images would be chance
        (1000, 0, 300, True),
    ],
)
def test_weaker_means_beyond_a_point_and_chance(judge, images, only_pgd, only_other, passed):
    """PGD may leave a point more survivors than another attack, or as many as chance allows on these images."""
    pgd, other = torch.zeros(2, images, dtype=torch.bool)
    pgd[:only_pgd], other[only_pgd : only_pgd + only_other] = True, True
    found = judge(other, pgd)
    assert found.passed is passed
    assert f"{100 * only_pgd / images:.1f}% under PGD" in found.finding
    assert f"{100 * only_other / images:.1f}% right " in found.finding


def test_survivors_that_grey_would_fool_are_counted():
    """At the great radius only survivors of another class than plain grey's speak against the attack."""
    right, grey = mask("1" * 45 + "0" * 5), mask("1" * 25 + "0" * 25)
    assert falls_to_zero(right, mask("1" + "0" * 49), grey).passed
    assert falls_to_zero(right, mask("0" * 25 + "1" * 20 + "0" * 5), grey).passed
    found = falls_to_zero(right, mask("11" + "0" * 23 + "1" * 20 + "0" * 5), grey)
    assert found.passed is False
    assert found.finding == "44.0% right under PGD at eps 0.5, 4.0% where plain grey would fool the model"
    assert falls_to_zero(mask("1100"), mask("1100"), mask("0011")).passed is None


def test_one_image_in_a_hundred_may_lack_a_gradient():
    """Zero and infinite gradients add up, and more than one in a hundred images is too many."""
    none, one = torch.zeros(100, dtype=torch.bool), torch.eye(100, dtype=torch.bool)
    assert usable_gradients(one[0], ~none).passed
    assert usable_gradients(none, ~one[0]).passed
    found = usable_gradients(one[0], ~one[1])
    assert found.passed is False
    assert found.finding == "input gradient exactly zero on 1.0%, not finite on 1.0% of images"


def test_probabilities_on_every_image_are_none_by_chance():
    """Outputs are taken for probabilities only if all rows are nonnegative and sum to 1."""
    probabilities = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    assert logits_wanted(probabilities).passed is False
    for row in ([-0.2, 1.2], [0.2, 0.9], [0.0, 0.0]):
        assert logits_wanted(torch.cat([probabilities, torch.tensor([row])])).passed is True
    assert logits_wanted(probabilities).finding == "least output 0; outputs of an image sum to 1 to 1"


def test_rounding_is_not_randomness():
    """Differences are judged against the largest logit, and reported with the answers that changed."""
    logits = torch.tensor([[100.0, 0.0], [1.0, 0.99]])
    assert same_answers(logits, logits + 1e-3).passed
    found = same_answers(logits, logits + torch.tensor([[0.0, 0.0], [0.0, 0.02]]))
    assert found.passed is False
    assert found.finding == "logits up to 100 differ by up to 0.02 between two passes; 50.0% of answers change"
    assert same_answers(torch.tensor([[torch.nan, 1.0]]), torch.tensor([[torch.nan, 1.0]])).passed


def test_limits_are_where_they_are_said_to_be():
    """2 points of survivors at the great radius, 1 of unusable gradients, sums within 1e-2, rounding within 1e-4."""
    first = torch.arange(1000)
    everything = torch.ones(1000, dtype=torch.bool)
    assert [falls_to_zero(everything, first < count, everything).passed for count in (20, 21)] == [True, False]
    assert [usable_gradients(first < count, everything).passed for count in (10, 11)] == [True, False]
    rows = [torch.tensor([[0.5, 0.5 + excess]]) for excess in (0.0099, 0.0101)]
    assert [logits_wanted(row).passed for row in rows] == [False, True]
    logits = torch.tensor([[100.0, 0.0]])
    moved = [logits + torch.tensor([[0.0, change]]) for change in (0.0099, 0.0101)]
    assert [same_answers(logits, other).passed for other in moved] == [True, False]


def test_rows_and_remedies():
    """A row holds plain text for a table, and every check knows its remedy."""
    rows = [Check(name, passed, "1 of 2").as_row() for name, passed in zip(REMEDIES, (True, False), strict=False)]
    assert [row["passed"] for row in rows] == ["yes", "no"]
    assert rows[0] == {"check": FGSM, "passed": "yes", "finding": "1 of 2"}
    assert Check(RANDOM, False, "").remedy == REMEDIES[RANDOM]


@pytest.mark.parametrize(
    ("images", "labels", "eps", "says"),
    [
        (random_images(0), torch.zeros(0, dtype=torch.int64), EPS, "0 images with 0 labels"),
        (random_images(4), torch.zeros(3, dtype=torch.int64), EPS, "4 images with 3 labels"),
        (random_images(4), torch.zeros(4, dtype=torch.int64), 8, "eps=8"),
        (random_images(4) * 255, torch.zeros(4, dtype=torch.int64), EPS, "not \\[0, 1\\]"),
    ],
)
def test_impossible_requests_are_refused(images, labels, eps, says):
    """No images, labels of another number, and what the attacks refuse end in one line."""
    with pytest.raises(RequestError, match=says):
        run_checks(Linear(), images, labels, eps)
