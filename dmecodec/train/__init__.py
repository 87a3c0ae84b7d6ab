"""Training: from folders or shards of images to a resumable run, and from there to a frozen model."""
