"""The claims judged by published figures at the paper's own scale: ResNet-50s on ImageNet at 224 px, each trained once
(source and traps: data/published/README.md).

These rules were written before any verdict was computed. Known by then: clean accuracy, Gaussian blur, stylized images,
shape bias and contrast of some of the models.

*Models.* STD is `robust_resnet50_l2_eps0`, which shares the recipe of the robust models. ADV are the five models trained
at L-infinity radii, the paper's threat model. The L2 models are drawn but not judged: their radii begin at 0.01, where a
model hardly differs from STD.

*Effects* are ADV - STD as in `samples.py`, of each radius and on average. Radii stand for seeds: a verdict needs all of
them on one side, so that no mean hides a change of sign.

*Error.* An accuracy p on n images has the variance p (1 - p) / n. Accuracies are taken as independent, although the
images are the same, which overstates the variance of their differences. The mean over radii is given the mean of their
variances, not a fifth of it, because STD and the images are common to all. Added is the variance between radii over their
number, with radii - 1 degrees of freedom; both are combined after Satterthwaite. The radius is a dose: if the effect
grows with it, that counts as disagreement and widens the interval. p values are corrected by Holm for all comparisons.

*Second readings*, which decide nothing: torchvision's STD in place of the control; and the variance between radii taken
around a straight line over the logarithm of the radius, with radii - 2 degrees of freedom, so that a steady dose-response
is no disagreement.

*What stands for a claim.* Clean accuracy: ImageNet. Under attack: PGD-40 at both of its radii; their numbers of images
are not stated, and taken as all of ImageNet's. Blur: Gaussian blur of ImageNet-C at every severity at which STD, or ADV on
average, keeps half of its clean accuracy; clean ImageNet is "before". Stylized: ImageNet before, the stylized set of
model-vs-human after. Shape: the shape bias on the cue conflicts; the images that it rests on are at least those right by
shape, without the sixteenth whose shape and texture agree, over the bias. Two claims more, on which notebook 03 has
measures but no verdicts: ADV keeps a larger share of its clean accuracy on low-passed, and a smaller one on high-passed
images, at 0.2 of the Nyquist frequency, the level closest to the 0.09 cycles per pixel that we quote. Everything else is
not tested; "false colour" keeps the luminance, so it does not stand for reversed colours."""
