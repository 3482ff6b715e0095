# Sourced by every finding, with what pip is to install: an environment of its own in a temporary
# folder, which is also the working folder and the home of whatever libraries like to leave behind.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check "$@"
export HOME="$folder"
# -I: neither this project nor packages of the user are seen.
python=(env/bin/python -I -W ignore)
