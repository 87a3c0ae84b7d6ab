"""Files, boxes, devices, threads and standard error: nothing here depends on images or codecs."""
