"""What runs left behind: playing it back, comparing it, forking from it, taking it elsewhere. Nothing is executed."""
