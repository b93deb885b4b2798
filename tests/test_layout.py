"""The rooms are where DESIGN says, install as listed, and let data flow one way only."""

import ast
import configparser
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.cfg").is_file(), reason="needs the checkout, not an installed wheel"
)

# First to last: a module imports only from modules of earlier rooms, and from earlier modules of
# its own room. So no two rooms can import each other in a circle.
ROOMS = {
    "microx": (
        *("_version", "schema", "errors", "text", "files", "progress", "plotting", "markup"),
        "parallel",
    ),
    "preprocessing": (
        *("orientation", "images", "interlacing", "video", "warping", "drawing", "mean_face"),
        *("landmarks", "openface", "motion"),
        *("tracking.faces", "tracking.shots", "tracking.flow", "tracking.weights"),
        *("tracking.identity", "tracking.dlib", "regions"),
        *("occlusion.face_warp", "occlusion.painting", "occlusion.hand", "occlusion.garments"),
        *("occlusion.occluder", "recipe", "preprocessed", "pipeline"),
    ),
    "models": (
        *("winograd", "conv_lstm", "fusion", "streams", "multistream", "hog", "baselines"),
        *("face_net", "motion"),
    ),
    "simulation": (
        *("expressions", "canvas", "looks", "costume", "portrait", "features", "confounds"),
        *("actor", "corpus", "long_videos"),
    ),
    "labels": (
        *("sheets", "columns", "matching", "frame_numbers", "intervals", "formats"),
        *("micro", "videos", "photographs", "corpora", "labels"),
    ),
    "corpus": (
        *("storage", "shards", "corpus", "key_clips", "motion", "build", "quality", "check"),
        *("contact_sheets", "inspect"),
    ),
    "training": (
        *("backend", "augmentation", "settings", "protocol", "facts", "dataset", "splits"),
        *("pretrained", "model_file", "losses", "callbacks", "network", "fit"),
    ),
    "evaluation": (
        *("metrics", "statistics", "facts", "result", "baselines", "summary", "svm", "evaluate"),
        "stored_model",
    ),
    "experiments": (*("run", "ablations", "leakage", "literature", "replications", "replicate"),),
    "report": (
        *("cautions", "protocol", "tables", "charts", "figures", "examples", "comparison"),
        "page",
    ),
    "inference": ("prediction", "annotate", "video", "recordings", "meeting", "export"),
    "explain": ("layers", "filters", "attribution", "plots", "explain"),
    "spotting": ("movement", "spot", "scoring", "experiment", "timeline", "video"),
    "cli": (
        *("doctor", "wording", "console", "options", "corpora", "models", "evidence", "spotting"),
        "main",
    ),
}
GROUND = "microx"
ENTRANCE = {"__init__", "__main__"}
"""Of microx itself: they give the public names and the command, and are imported by nobody."""

MOST_FLOORS, MOST_ON_THE_GROUND, MOST_LINES = 10, 8, 600

FLOW = [f"{room}.{module}" for room, modules in ROOMS.items() for module in modules]


@cache
def _sources() -> dict[str, Path]:
    """Every module by its room and name, such as ``preprocessing.tracking.dlib``."""
    found = {f"{GROUND}.{path.stem}": path for path in (ROOT / "microx").glob("*.py")}
    for room in ROOMS:
        folder = ROOT / "microx" / room
        for path in () if room == GROUND else folder.rglob("*.py"):
            found[".".join((room, *path.relative_to(folder).with_suffix("").parts))] = path
    return {name: path for name, path in found.items() if name.rpartition(".")[2] not in ENTRANCE}


@cache
def _imports(module: str) -> set[str]:
    """Modules of microx that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(_sources()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module}: expected whole names in imports"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    names = {name.removeprefix("microx.") for name in names if name.startswith("microx.")}
    return {f"{GROUND}.{name}" if "." not in name else name for name in names} & set(FLOW)


def _rooms_imported(room: str) -> set[str]:
    return {
        name.partition(".")[0]
        for module in ROOMS[room]
        for name in _imports(f"{room}.{module}")
        if not name.startswith(f"{room}.")
    }


def test_every_module_has_its_place_in_the_flow():
    assert set(_sources()) == set(FLOW)


@pytest.mark.parametrize("module", FLOW)
def test_module_imports_only_from_before(module):
    later = set(FLOW[FLOW.index(module) :]) & _imports(module)
    assert not later, f"{module} imports {sorted(later)}, which come after it"


def test_modules_import_nothing_from_the_entrance():
    """`microx` gives names to users; the package itself takes each from where it is made."""
    for name, path in _sources().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            whole = isinstance(node, ast.Import) and any(n.name == "microx" for n in node.names)
            part = isinstance(node, ast.ImportFrom) and node.module == "microx"
            assert not whole, f"{name} imports microx itself"
            assert not part, f"{name} imports a name of microx itself"


def test_rooms_stand_on_few_floors():
    floors: dict[str, int] = {}
    for room in ROOMS:  # in the order of the flow, so that those below are known
        floors[room] = 1 + max((floors[below] for below in _rooms_imported(room)), default=0)
    assert max(floors.values()) <= MOST_FLOORS, floors


def test_the_ground_is_not_crowded():
    modules = [name for name in ROOMS[GROUND] if not name.startswith("_")]  # a constant is none
    assert len(modules) <= MOST_ON_THE_GROUND


@pytest.mark.parametrize("module", FLOW)
def test_module_can_be_read_from_top_to_bottom(module):
    n_lines = len(_sources()[module].read_text(encoding="utf-8").splitlines())
    assert n_lines <= MOST_LINES, f"{module} has {n_lines} lines: split it by concept"


def test_tests_mirror_the_rooms():
    """A folder of tests stands for a room, in the same place of the same tree."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests").as_posix()
        if folder != ".":
            assert (ROOT / folder).is_dir(), f"{path}: there is no room {folder}"


def test_setup_cfg_lists_the_packages_of_the_tree():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    top = ROOT / "microx"
    found = {"microx"}
    for room in top.iterdir():
        found |= {
            ".".join(("microx", room.name, *path.parent.relative_to(room).parts))
            for path in room.rglob("__init__.py")
        }
    assert set(config["options"]["packages"].split()) == found
    linked = {room.name for room in top.iterdir() if room.is_symlink()}
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
        "import sys, microx, microx.corpus.corpus, microx.labels.labels, microx.cli.main;"
        "dir(microx);"
        "print([m for m in ('keras', 'tensorflow', 'dlib', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
