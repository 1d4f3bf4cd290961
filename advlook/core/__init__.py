"""What every room rests on: errors, files, presets, gradients with respect to images, processes."""
