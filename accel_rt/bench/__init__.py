"""Speed on this machine: operators against their peers, models against plain PyTorch."""
