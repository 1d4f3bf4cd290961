"""The checks of `advlook.attacks.checks`, under the name that others import."""

from advlook.attacks.checks import REMEDIES, Check, falls_to_zero, fgsm_against_pgd, run_checks, transfer_against_pgd

__all__ = ["REMEDIES", "Check", "falls_to_zero", "fgsm_against_pgd", "run_checks", "transfer_against_pgd"]
