"""Rate, distortion and speed of dmecodec and of other codecs, from real files on one's own images.

`runner.run` measures and gives a `report.Report`; `folder.write_report` writes it.
"""
