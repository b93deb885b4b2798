"""From a video to region crops: frames in time, landmarks, boxes, crops. Never loads Keras."""
