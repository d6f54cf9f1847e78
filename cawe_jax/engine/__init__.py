"""What runs: the objective, compiled programs, and a batch of images on the devices."""
