"""The whole pipeline in Python: videos and labels in, a table, a report and a prediction out.

    python examples/own_videos.py videos labels.csv out

`labels.csv` has the columns path and emotion, and subject if it is known. Each step
continues where it stopped when the script is run again.
"""

import sys
from pathlib import Path

from microx import build_corpus, predict_video, read_labels, run_ablation, write_report


def main(videos: Path, labels_file: Path, out: Path) -> None:
    """Preprocess, ablate, report, and use the model on the first video."""
    labels = read_labels(videos, labels_file)
    corpus = build_corpus(labels, out / "corpus", n_workers=-1)
    skipped = corpus.manifest[corpus.manifest["status"] == "skipped"]
    for video in skipped.itertuples():
        print(f"skipped {video.path}: {video.reason}")

    run = run_ablation(corpus, out / "run", regions="paper")
    print(run.table[["name", "n_test", "accuracy", "uar", "uf1"]].to_string(index=False))
    print(write_report(out / "run"))

    first = corpus.manifest[corpus.manifest["status"] == "done"]["path"].iloc[0]
    prediction = predict_video(videos / first, out / "run", out=out)
    print(f"{first}: {prediction.emotion}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/own_videos.py VIDEOS LABELS OUT")
    main(*map(Path, sys.argv[1:]))
