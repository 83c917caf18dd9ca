"""The installed fusion of a pair, kept as it is for the pair's new weights.

python recipes/keep_fusion.py REFERENCE UPDATE FOLDER: FOLDER holds new weights under these names; a
network that is not there is the installed one.
"""

import sys
from pathlib import Path

from accel_rt.models import store
from accel_rt.models.weights import read_description

reference, update, folder = sys.argv[1:]
names = reference, update
installed = store.find_fusion(*map(store.find, names))
if installed is None:
    sys.exit(f"error: no fusion of {reference} and {update} is installed")
new = [Path(folder) / f"{name}.safetensors" for name in names]
pair = [path if path.is_file() else store.find(path.stem) for path in new]
told = {**store.pair(*pair), "trained_on": read_description(installed)["trained_on"]}
fusion = store.load_fusion(installed, len(store.class_names(pair[0])))
store.save_fusion(Path(folder) / installed.name, fusion, told)
