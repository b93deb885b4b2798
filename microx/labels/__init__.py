"""The label and subject of each video: from folders, sheets and corpora as downloaded."""
