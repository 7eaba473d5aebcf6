"""torchvision beside any build of torch: code of others may import it by its own name once a model is loaded."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("model", ["FILE.py:build", "timm:resnet18"])
def test_models_that_import_torchvision_themselves_are_built_in_a_fresh_process(model, tmp_path):
    strictly = ["-W", "error"]
    if model.startswith("timm"):
        pytest.importorskip("timm")
        strictly = []  # timm warns of its own
    file = tmp_path / "FILE.py"
    file.write_text("import torchvision\n\ndef build():\n    return torchvision.models.squeezenet1_1(num_classes=10)\n")
    code = f"import attnlab; print(attnlab.load_model({model!r}, weights='none').classes)"
    code += "; from attnlab.compat import functional, tv_tensors, torchvision; torchvision.models.squeezenet1_1()"
    words = [sys.executable, *strictly, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ("1000" if model.startswith("timm") else "10"), done.stderr[-500:]
