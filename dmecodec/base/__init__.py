"""Files, boxes, devices, threads and standard error: nothing here knows of images or codecs."""
