#!/bin/sh
# Make the virtual environment and install cutover with its development tools into it.
# usage: tools/venv.sh PYTHON VENV
set -eu
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "cutover needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2
    exit 1
}
if [ ! -x "$venv/bin/python" ]; then
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif command -v uv >/dev/null; then
        uv venv --quiet --seed --python "$python" "$venv"
    elif [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then
        apt-get -qq update && apt-get -qq -y install python3-venv >/dev/null
        "$python" -m venv "$venv"
    else
        echo "this Python has no venv; install it first: apt install python3-venv" >&2
        exit 1
    fi
fi
echo "installing into $venv (once) ..." >&2
# Dependency groups need pip 25.1; a distribution's venv brings an older one.
"$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
"$venv/bin/python" -m pip install --quiet --editable . --group dev
