#!/bin/sh
# Most of `import nbformat` is spent on a grammar of internationalised URLs that no notebook needs.
#
# nbformat imports jsonschema, which at import tries every optional checker of formats. jupyterlab, through
# jupyter-events, asks for `jsonschema[format-nongpl]`; since jsonschema 4.25 this extra brings rfc3987-syntax, whose
# module builds a lark parser when it is imported, anew in every process. It belongs to the formats "iri" and
# "iri-reference", which nbformat's schemas do not use. So each process of papermill, nbconvert or nbval, and every
# process that reads a notebook, starts more slowly where jupyterlab is installed beside it.
#
# Seen with nbformat 5.11.1, Python 3.11.7, seconds of processor time (the least of three):
#
#     jsonschema[format-nongpl] 4.26.0 (rfc3987-syntax 1.1.0, lark 1.3.1)   2.7 s for `import nbformat`
#     jsonschema[format-nongpl] 4.24.1, which does not bring it             0.3 s
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
unset PYTHONDONTWRITEBYTECODE # modules are compiled once, not in every process
python3 -m venv "$folder/venv"
install() {
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}
seconds() {
    "$folder/venv/bin/python" - <<'PYTHON'
import resource
import subprocess
import sys


def spent():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-c", "import nbformat"], check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


spent()
print(f"{min(spent() for _ in range(3)):.2f}")
PYTHON
}
install nbformat==5.11.1 'jsonschema[format-nongpl]==4.26.0' rfc3987-syntax==1.1.0 lark==1.3.1
slow=$(seconds)
"$folder/venv/bin/pip" uninstall --quiet --yes rfc3987-syntax lark
install 'jsonschema[format-nongpl]==4.24.1'
fast=$(seconds)
echo "import nbformat: $slow s with jsonschema 4.26.0, $fast s with 4.24.1"
python3 -c "import sys; sys.exit(0 if $slow > 2 * $fast else 1)" || {
    echo "the import is no longer slowed down"
    exit 1
}
