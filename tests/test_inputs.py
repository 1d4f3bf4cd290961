"""Every attack, map, check and measure makes the same checks of its model, images and labels."""

from functools import partial

import pytest
import torch
from helpers import Linear, Recorder, convolutional, image_set, random_images
from torch import nn

from advlook import attacks, checks, sensitivity
from advlook.core.errors import RequestError
from advlook.data.image_sets import to_float
from advlook.models.evaluation import predict, robust_accuracy, suite_accuracy, topk_accuracy
from advlook.sensitivity.maps import METHODS

IMAGES, EPS = random_images(12, 8), 4 / 255
LABELS = torch.arange(12) % 3
ATTACKS = {
    "fgsm": attacks.fgsm,
    "pgd": partial(attacks.pgd, steps=2),
    "mi-fgsm": partial(attacks.mi_fgsm, steps=2),
    "apgd": partial(attacks.apgd, steps=2),
}
ATTACKS |= {f"{name}, L2": partial(ATTACKS[name], norm="l2") for name in ("pgd", "mi-fgsm", "apgd")}
MEASURES = {
    "fourier": lambda model, x, y: sensitivity.fourier_sensitivity(model, (x, y), 1.0, stride=4),
    "accuracy_on": lambda model, x, y: sensitivity.accuracy_on(model, (x, y), lambda shown: shown),
    "top-k": lambda model, x, y: topk_accuracy(model, (x, y)),
    "robust": lambda model, x, y: robust_accuracy(model, (x, y), EPS, steps=2),
    "suite accuracy": lambda model, x, y: suite_accuracy(model, (x, y), EPS, steps=2),
}
EXAMINED = {
    "suite": lambda model, x, y: attacks.attack_suite(model, x, y, EPS, steps=2),
    "checks": lambda model, x, y: checks.run_checks(model, x, y, EPS, steps=2),
}
TAKE_GRADIENTS = {name: lambda m, x, y, f=attack: f(m, x, y, EPS) for name, attack in ATTACKS.items()}
TAKE_GRADIENTS |= {name: partial(sensitivity.by_name, name, samples=2) for name in METHODS}
FUNCTIONS = TAKE_GRADIENTS | EXAMINED | MEASURES
each_function = pytest.mark.parametrize("ask", FUNCTIONS.values(), ids=FUNCTIONS)


def line_of(ask, model, images=IMAGES, labels=LABELS):
    """The line of the RequestError that a request ends in."""
    with pytest.raises(RequestError) as caught:
        ask(model, images, labels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Then(nn.Module):
    """A network, its answer changed by a function of images and logits."""

    def __init__(self, change, classes=3):
        super().__init__()
        self.network, self.change = convolutional(classes=classes), change
        self.eval()

    def forward(self, images):
        return self.change(images, self.network(images))


@each_function
def test_answers_that_are_not_finite_are_refused(ask):
    """Argmax of nan is class 0: no accuracy is computed of it, and no map."""
    model = convolutional().eval()
    with torch.no_grad():
        model[0].weight[0] = torch.nan
    assert "the answer of the model is not finite for" in line_of(ask, model)


@pytest.mark.parametrize("ask", (TAKE_GRADIENTS | {"suite": EXAMINED["suite"], "robust": MEASURES["robust"]}).values())
def test_gradients_that_are_not_finite_are_refused(ask):
    """The sign of nan is 0: a model whose gradient is nan would pass for robust."""

    def hidden(images, logits):
        return logits + (images - images).pow(2).sum((1, 2, 3)).sqrt()[:, None]

    labels = convolutional().eval()(IMAGES).argmax(1)
    assert "gradient" in line_of(ask, Then(hidden), labels=labels)


def test_checks_tell_of_gradients_that_are_not_finite():
    """The checks that attack are not run, and that of gradients fails and says why."""
    model = Then(lambda x, z: z + (x - x).pow(2).sum((1, 2, 3)).sqrt()[:, None])
    found = checks.run_checks(model, IMAGES, LABELS, EPS)
    assert [check.passed for check in found[:5]] == [None, None, None, None, False]
    assert "not finite on 100.0% of images" in found[4].finding


@each_function
@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda x, z: z[:, 0], "one output"), (lambda x, z: z[:, :1], "one output"), (lambda x, z: (z,), "tuple")],
)
def test_answers_that_are_no_logits_are_refused(ask, change, says):
    """Of one output no cross-entropy can be taken, and of a tuple it is not plain what the logits are."""
    assert says in line_of(ask, Then(change), labels=torch.zeros(12, dtype=torch.int64))


@each_function
@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_that_are_no_class_are_refused(ask, wrong):
    """One label out of range is refused, although its image is wrong already and would be left out."""
    labels = LABELS.clone()
    labels[5] = wrong
    assert "3 classes" in line_of(ask, convolutional().eval(), labels=labels)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "wrapped",
    [lambda model: lambda images: model(images), lambda model: Then(lambda x, z: {"logits": z})],
    ids=["function", "dict"],
)
def test_functions_and_dictionaries_serve_as_models(name, wrapped):
    """A plain function, and a model that returns its logits in a dictionary, give what the model itself gives."""
    model, ask = convolutional().eval(), FUNCTIONS[name]
    found, expected = [], []
    for given, results in ((wrapped(model), found), (model, expected)):
        torch.manual_seed(0)  # attacks without a generator draw from torch's own
        results.append(ask(given, IMAGES, LABELS))
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_attacked_in_float32(name, dtype):
    """The ball is kept to the last digit, and the model loses as many images as it does in float32."""
    model, images = convolutional().eval(), random_images(40, 8)
    labels, eps = model(images).argmax(1), 0.1 if name.endswith("L2") else 2 / 255
    images = images.to(dtype)
    found = ATTACKS[name](convolutional().eval().to(dtype), images, labels, eps)
    assert found.dtype == torch.float32
    moved = (found - images.float()).flatten(1)
    length = moved.norm(dim=1) if name.endswith("L2") else moved.abs().amax(1)
    assert length.max() <= eps + 1e-6
    exact = ATTACKS[name](model, images.float(), labels, eps)
    lost, lost_exactly = ((model(x).argmax(1) != labels).sum().item() for x in (found, exact))
    assert lost_exactly > 4
    assert abs(lost - lost_exactly) <= 2


def test_units_of_a_half_model_are_excited_as_in_float32():
    """Activation maximisation reaches in bfloat16 what it reaches in float32, by either parameterisation."""
    for how in ("pixels", "fourier"):
        options = {"size": 8, "steps": 5, "parameterisation": how}
        half, whole = (
            sensitivity.maximise(model, "3", [0, 1], **options, generator=torch.Generator().manual_seed(0))
            for model in (convolutional().bfloat16(), convolutional())
        )
        assert half.images.dtype == torch.float32
        torch.testing.assert_close(half.activations, whole.activations, atol=0.05, rtol=0.05)


def test_units_of_a_broken_model_are_refused():
    """An activation that is not finite is no result."""
    model = convolutional()
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
    assert "not finite" in line_of(lambda m, x, y: sensitivity.maximise(m, "3", [0], size=8, steps=1), model)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measures_take_models_of_double_precision(name, dtype):
    """A float64 model has the scale and the accuracies of its float32 form, from images of either type."""
    images = image_set(12, 8)
    pair = to_float(images.images).to(dtype), images.labels
    torch.manual_seed(0)
    found = MEASURES[name](convolutional().double(), *pair)
    torch.manual_seed(0)
    assert repr(found) == repr(MEASURES[name](convolutional(), pair[0].float(), pair[1]))


def test_a_pair_of_tensors_is_measured_as_an_image_set_is():
    """Images in memory, with labels, give to the last digit what the image set that holds them gives."""
    model, images = convolutional(), image_set(30, 8)
    pair = to_float(images.images), images.labels
    how = {"batch_size": 7}
    assert torch.equal(predict(model, pair, **how), predict(model, images, **how))
    assert robust_accuracy(model, pair, EPS, **how) == robust_accuracy(model, images, EPS, **how)
    found, expected = (
        sensitivity.fourier_sensitivity(model, each, 1.0, generator=torch.Generator().manual_seed(0))
        for each in (pair, images)
    )
    assert torch.equal(found.error, expected.error)
    with pytest.raises(RequestError, match="of type Tensor; give an image set or a pair"):
        predict(model, pair[0])


@pytest.mark.parametrize(
    ("classes", "left_out"), [(2, ["apgd-dlr", "apgd-t"]), (3, ["apgd-t"]), (4, [])], ids=["two", "three", "four"]
)
def test_the_suite_runs_what_is_defined(classes, left_out):
    """DLR needs three classes and its targeted form four: what is left out is named, and the rest runs."""
    model = convolutional(classes=classes).eval()
    wanted = ("pgd", "apgd-ce", "apgd-dlr", "apgd-t")
    result = attacks.attack_suite(model, IMAGES, model(IMAGES).argmax(1), 0.001, attacks=wanted, steps=2)
    assert list(result.left_out) == left_out
    assert list(result.accuracy) == ["clean", *(name for name in wanted if name not in left_out)]
    assert all("classes" in why for why in result.left_out.values())
    assert list(suite_accuracy(model, (IMAGES, LABELS % classes), 0.001, steps=2)) == [
        name for name in attacks.SUITE if name not in left_out
    ]


def test_a_suite_of_nothing_is_refused_at_once():
    """Where no attack is defined the model is asked once, and the line names attacks that the suite has."""
    model = Recorder(convolutional(classes=2)).eval()
    says = line_of(lambda m, x, y: attacks.attack_suite(m, x, y, EPS, attacks=["apgd-dlr"]), model, labels=LABELS % 2)
    assert all(name in says for name in ("apgd-dlr needs 3 classes", "has 2", "apgd-ce"))
    assert len(model.sizes) == 1


@pytest.mark.filterwarnings("error")
@each_function
def test_eval_mode_brings_none(ask):
    """Nothing is warned of where the model is in eval mode, or is put into it."""
    ask(convolutional().eval(), IMAGES, LABELS)


def test_radii_that_are_no_numbers_are_refused():
    """A fraction written as text, which presets and the command read, is no radius in Python."""
    for eps in ("4/255", None):
        assert "not a number" in line_of(lambda m, x, y, eps=eps: attacks.pgd(m, x, y, eps), convolutional())


def test_no_gradient_is_told_in_one_line():
    """Models that detach the images, or do not look at them, and inference mode end in one line."""
    for change in (lambda x, z: z.detach(), lambda x, z: torch.zeros(len(x), 3, requires_grad=True)):
        assert "no gradient to the images" in line_of(TAKE_GRADIENTS["fgsm"], Then(change))
    with torch.inference_mode():
        assert "torch.no_grad()" in line_of(TAKE_GRADIENTS["pgd"], Linear(3, 8))
