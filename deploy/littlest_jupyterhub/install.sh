#!/usr/bin/env bash
# The course for every account of The Littlest JupyterHub. Run it from the folder of the course:
#   sudo bash deploy/littlest_jupyterhub/install.sh
# Again after an update of the course; what it does, it does only once. pip reads its usual
# environment variables and files, for instance where to find a PyTorch without CUDA.
set -euo pipefail

tljh=${TLJH:-/opt/tljh}                       # other places are for trying the script
exchange=${EXCHANGE:-/srv/nbgrader/exchange}
here=$(cd "$(dirname "$0")/.." && pwd)
course=$(dirname "$here")

if [ ! -x "$tljh/user/bin/python" ]; then
    echo "There is no $tljh/user: install The Littlest JupyterHub first." >&2
    exit 1
fi

# A copy is installed, and not as editable: students must not need to read the folder of the course,
# which has the solutions, and pip would leave files of root's in it.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$course"/{pyproject.toml,README.md,course_lib,classroom} "$copy"
"$tljh/user/bin/python" -m pip install -c "$course/constraints.txt" "$copy[grading]"

install -D -m 644 "$here/nbgrader_config.py" "$tljh/user/etc/jupyter/nbgrader_config.py"
for file in jupyter_server_config.d/nbgrader.json labconfig/page_config.json; do
    install -D -m 644 "$here/students/$file" "$tljh/user/etc/students/$file"
done
install -D -m 644 "$here/littlest_jupyterhub/course.py" \
    "$tljh/config/jupyterhub_config.d/course.py"

# Everyone writes into the exchange; what a student sees of it is decided inside, by nbgrader.
install -d -m 777 "$exchange"

echo "Done. Merge $here/littlest_jupyterhub/config.yaml into $tljh/config/config.yaml, then:" \
    "sudo tljh-config reload"
