"""From a model's weights to the files a runtime loads: found, built once, verified, cached."""
