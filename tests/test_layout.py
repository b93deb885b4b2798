"""The rooms are where DESIGN says, install as listed, and let data flow one way only."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.cfg").is_file(), reason="needs the checkout, not an installed wheel"
)

ROOMS = ("preprocessing", "models", "actors", "reporting", "explanation", "commands")

# Left to right: a module imports only from modules to its left.
FLOW = (
    *("schema", "errors", "files", "progress", "pages", "backend"),
    *("preprocessing.video", "preprocessing.warping", "preprocessing.landmarks"),
    "preprocessing.faces",
    *("preprocessing.shots", "preprocessing.openface", "preprocessing.follower"),
    *("preprocessing.weights", "preprocessing.people"),
    *("preprocessing.dlib_tracker", "preprocessing.regions", "preprocessing.placement"),
    *("preprocessing.painting", "preprocessing.hand", "preprocessing.occluders"),
    *("preprocessing.occlusion", "preprocessing.motion"),
    *("preprocessing.recipe", "preprocessing.face_frames", "preprocessing.pipeline"),
    *("models.winograd", "models.conv_lstm", "models.fusion", "models.streams"),
    *("models.multistream", "models.hog", "models.baselines"),
    "labels",
    *("actors.expressions", "actors.canvas", "actors.looks", "actors.costume"),
    *("actors.portrait", "actors.features", "actors.habits", "actors.actor", "synthetic"),
    *("crops", "corpus", "workers", "building", "ledger", "scan"),
    *("augmentation", "settings", "dataset", "splits", "modelfiles"),
    *("losses", "callbacks", "training"),
    *("metrics", "class_tables", "uncertainty", "shapley", "results", "evaluation", "scores"),
    *("grid", "experiments"),
    *("audit", "writing", "anchors", "published", "papers", "reproduction"),
    *("reporting.cautions", "reporting.accounts", "reporting.tables"),
    *("figures", "reporting.charts", "sheets", "inspection"),
    *("reporting.illustrations", "reporting.examples", "reporting.comparison", "report"),
    *("predict", "export"),
    *("explanation.anatomy", "explanation.filters", "explanation.attribution"),
    *("explanation.maps", "explain"),
    *("doctor", "printing", "commands.options", "commands.corpora", "commands.models"),
    *("commands.evidence", "cli", "__main__"),
)


def _sources() -> dict[str, Path]:
    found = {path.stem: path for path in (ROOT / "microx").glob("*.py")}
    for room in ROOMS:
        found |= {f"{room}.{path.stem}": path for path in (ROOT / "microx" / room).glob("*.py")}
    return {name: path for name, path in found.items() if not name.endswith("__init__")}


def _imports(path: Path) -> set[str]:
    """Modules of microx that a source file imports, anywhere in it, type checking aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("microx"):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix("microx.") for name in names} & set(FLOW)


def test_every_module_has_its_place_in_the_flow():
    assert set(_sources()) == set(FLOW)


@pytest.mark.parametrize("module", FLOW)
def test_module_imports_only_from_its_left(module):
    right = set(FLOW[FLOW.index(module) :]) & _imports(_sources()[module])
    assert not right, f"{module} imports {sorted(right)}, which come after it"


def test_setup_cfg_lists_the_packages_of_the_tree():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    rooms = {path.parent.name for path in (ROOT / "microx").glob("*/__init__.py")}
    assert set(config["options"]["packages"].split()) == {
        "microx",
        *(f"microx.{room}" for room in rooms),
    }
    linked = {room for room in rooms if (ROOT / "microx" / room).is_symlink()}
    mapping = config["options"]["package_dir"].strip().splitlines()
    assert dict(line.split(" = ") for line in mapping) == {
        "microx": "microx",
        **{f"microx.{room}": room for room in linked},
    }


@pytest.mark.parametrize("room", ["preprocessing", "models"])
def test_rooms_are_relative_links_to_the_top_level(room):
    link = ROOT / "microx" / room
    assert link.is_symlink()
    assert link.readlink() == Path("..") / room


def test_preprocessing_and_models_keep_to_themselves():
    for name, path in _sources().items():
        text = path.read_text(encoding="utf-8")
        if name.startswith("preprocessing."):
            assert "keras" not in text.lower(), f"{name} must not know Keras"
        assert "import tensorflow" not in text, f"{name} must run on every backend"


def test_importing_microx_loads_no_keras():
    code = (
        "import sys, microx, microx.corpus, microx.labels, microx.cli; dir(microx);"
        "print([m for m in ('keras', 'tensorflow', 'dlib', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
