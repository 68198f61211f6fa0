#!/bin/sh
# Make the virtual environment of `make setup`: setup.sh FOLDER UV, the latter a requirement.
# docs/setup.md says what it does for whom. From the user: PYTHON; TORCH=system for the machine's own
# PyTorch; CUDA=1 for the usual wheel without a driver too.
set -u
venv=$1
uv_requirement=$2
here=$(dirname "$0")
PATH=${PATH#"$PWD/$venv/bin:"} # not that of an earlier set-up

refuse() {
    echo "make setup: $*" >&2
    exit 1
}

# What pip and uv are told for other work must not reach into this environment: packages of the user's
# own (PIP_USER, or `user = true` in a pip.conf), another place or Python, versions that differ from the
# locks' (NVIDIA's containers set PIP_CONSTRAINT), and modules (PYTHONPATH), which may be where the
# machine's PyTorch is.
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
elsewhere=${PYTHONPATH:-}
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_CONSTRAINT PIP_REQUIREMENT \
    PIP_REQUIRE_HASHES PIP_NO_DEPS PIP_NO_BINARY PIP_DRY_RUN UV_PYTHON UV_SYSTEM_PYTHON UV_CONSTRAINT \
    UV_OVERRIDE UV_EXCLUDE UV_EXCLUDE_NEWER UV_REQUIRE_HASHES UV_NO_BINARY

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Whether a Python is of a version that the locks have wheels for; of a bundle, the one that it has.
suits() {
    case "$(version "$1")" in
    "") false ;;
    *) case " $allowed " in *" $(version "$1") "*) ;; *) false ;; esac ;;
    esac
}

any_of() { echo "$*" | sed 's/ /, /g; s/\(.*\),/\1 or/'; }

case ${TORCH:-} in
"" | system) ;;
*) refuse "TORCH: found $TORCH; allowed is system: leave it out for the tested version" ;;
esac

[ ! -L "$venv" ] || refuse "$venv: found a link to $(readlink "$venv"), which would be emptied;" \
    "allowed is a folder: remove the link"

allowed="3.11 3.12 3.13"
remedy="install one, or name it with PYTHON="
sources=
lock=requirements.lock
if [ -f wheels/bundle ]; then
    read -r allowed system machine <wheels/bundle
    [ "$system $machine" = "$(uname -s) $(uname -m)" ] || refuse \
        "found $(uname -s) on $(uname -m); this bundle is for $system on $machine:" \
        "make one with \`make bundle FOR=$allowed-$(uname -m)\`"
    remedy="load that one, or make another bundle with \`make bundle FOR=<version>-$machine\`"
    sources="--no-index --find-links wheels"
    lock=wheels/requirements.lock
    [ -f wheels/torch.lock ] || TORCH=system
fi

if [ -n "${PYTHON:-}" ]; then
    suits "$PYTHON" || refuse "PYTHON=$PYTHON: found $(version "$PYTHON" || echo no Python);" \
        "allowed is Python $(any_of $allowed): $remedy"
    python=$PYTHON
else
    # The one in front of the user first: an environment that has its own PyTorch has it there.
    for python in python3 python python3.13 python3.12 python3.11 "$(uv python find '>=3.11,<3.14' \
        2>/dev/null)" none; do
        suits "$python" && break
    done
    [ "$python" != none ] || refuse "found $(python3 --version 2>/dev/null || echo no python3);" \
        "allowed is Python $(any_of $allowed): $remedy"
fi

python=$(command -v "$python") # by its path: uv takes `python3` for any Python 3 that it finds

if [ "${TORCH:-}" = system ]; then
    PYTHONPATH=$elsewhere "$python" "$here/system_torch.py" check || exit 1
fi

# The version to install: on Linux the usual wheel brings gigabytes of CUDA. Where there is no NVIDIA
# driver, take a build without them.
torch=$(grep '^torch==' requirements.txt)
with_cuda() { [ -n "${CUDA:-}" ] || nvidia-smi -L >/dev/null 2>&1; }

# Every package but torch by the hash of its file: those of its builds differ, and so does where they
# come from. --no-deps, since all that there is to install stands in the locks.
locked="$sources --require-hashes --no-deps -r $lock"

with_uv() {
    uv="uv pip install --quiet --python $venv/bin/python"
    # pip too, for `make lock` and the tests; a bundle has none.
    if [ -z "$sources" ]; then seed=--seed; else seed=; fi
    uv venv --quiet --clear $seed --python "$python" "$venv" && $uv $locked || return
    if [ "${TORCH:-}" = system ]; then return; fi
    if [ -n "$sources" ]; then
        $uv $sources --require-hashes --no-deps -r wheels/torch.lock
    elif with_cuda; then $uv "$torch"; else $uv --torch-backend cpu "$torch"; fi
}

with_pip() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null || refuse "$python has no ensurepip:" \
        "install python$(version "$python")-venv (Debian, Ubuntu), or uv"
    pip="$venv/bin/python -m pip install --quiet --no-compile"
    "$python" -m venv --clear "$venv" || return
    place=$("$venv/bin/python" -m pip config list | grep -E '\.(target|prefix|root)=')
    [ -z "$place" ] || refuse "pip.conf: found $place; allowed is no other place: remove it, or set" \
        "PIP_CONFIG_FILE=/dev/null"
    $pip $locked || return
    if [ "${TORCH:-}" = system ]; then return; fi
    if [ -n "$sources" ]; then
        $pip $sources --require-hashes --no-deps -r wheels/torch.lock
    elif with_cuda; then
        $pip "$torch"
    else
        # A build that pip is set up to find, else the one that uv knows of, else the usual one.
        $pip "$torch+cpu" || {
            $pip "$uv_requirement" && "$venv/bin/uv" pip install --python "$venv/bin/python" \
                --torch-backend cpu "$torch"
        } || $pip "$torch"
    fi
}

echo "make setup: $venv with $("$python" --version)${TORCH:+ and its PyTorch}"
if command -v uv >/dev/null && with_uv; then :; else
    ! command -v uv >/dev/null || echo "make setup: uv failed: pip is tried" >&2
    with_pip || refuse "the packages could not be installed; the lines above say why"
fi
# On all cores, which pip does on one and uv not at all: the first jobs would do it one after another,
# and with PYTHONDONTWRITEBYTECODE each one again. Templates that are no Python do not compile.
"$venv/bin/python" -m compileall -q -j 0 -x '/tests/' "$venv/lib" >/dev/null 2>&1 || :
if [ "${TORCH:-}" = system ]; then
    PYTHONPATH=$elsewhere "$python" "$here/system_torch.py" link "$venv" || exit 1
fi
echo "${TORCH:-}" >"$venv/.ready"
