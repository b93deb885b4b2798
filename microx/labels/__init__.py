"""Which label each video has, and who is seen in it: folders, sheets and corpora as downloaded."""
